/** What the HAProxy under test can do, by its version. */
import { execFileSync } from 'node:child_process';
import { isAtLeast } from '../../src/local/program-search.ts';

const { HAPROXY: haproxy = 'haproxy' } = process.env;
const version = execFileSync(haproxy, ['-v'], { encoding: 'utf8' });

/** Before, a CA is taken up by a planned replacement. */
export const HAPROXY_TAKES_AUTHORITIES = isAtLeast(version, [3, 3]);
/**
 * Before, a build that a builder takes as it comes up is not counted: those who wait knock at that builder in turn, dial
 * again, and one who is doing so when another builder becomes free is overtaken.
 */
export const HAPROXY_COUNTS_EVERY_BUILD = isAtLeast(version, [3, 2]);
