/** Padding of DATA: rare, so it is taken off before anything else sees it. */

import { type DataPiece, Flag, FrameType, stripPadding } from './frames.ts';

/**
 * Puts a padded DATA frame together, without its padding. Padding counts against the windows like data
 * (RFC 9113, section 6.1), so it is given back as `paddingBytes`.
 */
export class PaddedData {
  #parts: Buffer[] = [];

  /** Gives the whole frame as one piece when its last piece has come. */
  take(piece: DataPiece): { readonly piece: DataPiece; readonly paddingBytes: number } | undefined {
    this.#parts.push(Buffer.from(piece.chunk.subarray(piece.start, piece.end)));
    if (piece.left > 0) return undefined;
    const framed = Buffer.concat(this.#parts);
    this.#parts = [];
    const chunk = stripPadding(FrameType.data, piece.flags, framed);
    const end = chunk.length;
    return {
      piece: {
        ...piece,
        chunk,
        header: -1,
        start: 0,
        end,
        first: true,
        length: end,
        flags: piece.flags & ~Flag.padded,
      },
      paddingBytes: framed.length - end,
    };
  }
}
