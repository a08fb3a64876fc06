/**
 * Why there is no pool document.
 * - `passing`: another attempt may differ; never the last word.
 * - `unreachable`: nobody answered, however often asked, or nobody who could be trusted.
 * - `wrong`: what was answered is no pool document.
 */
export type DocumentFailureCode = 'passing' | 'unreachable' | 'wrong';

/** `message` is for a person. */
export class DocumentFailure extends Error {
  readonly code: DocumentFailureCode;

  constructor(code: DocumentFailureCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'DocumentFailure';
    this.code = code;
  }
}

/** By its name: the HTTP side is a bundle of its own, and its class another one. */
export function isDocumentFailure(error: unknown): error is DocumentFailure {
  return error instanceof Error && error.name === 'DocumentFailure';
}
