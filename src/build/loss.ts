import type { PoolEnd } from '../gateway/pool-end.ts';

/** Whether a pool connection ended before we were done with it. */
export function isLoss(end: PoolEnd): boolean {
  switch (end.cause) {
    case 'fin':
    case 'error':
    case 'goaway':
      return true;
    case 'client-left':
    case 'closed':
      return false;
  }
}

/** For a person. */
export function describeLoss(loss: PoolEnd | undefined): string {
  if (loss === undefined || loss.cause === 'goaway') return 'it was told to stop';
  return loss.error?.message ?? 'it closed the connection';
}
