import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface Pair {
  /** PEM. */
  readonly cert: string;
  readonly key: string;
  /** A file with both, as HAProxy's `crt` takes it. */
  readonly path: string;
}

export interface Authority {
  readonly pem: string;
  readonly path: string;
  /** A certificate for these subject alternative names (`DNS:pool.test`), valid for two days, or expired yesterday. */
  issue(names: string, options?: { readonly expired?: boolean }): Pair;
}

/** Certificates made by the openssl command in a folder that goes with the scope. */
export class Certificates implements Disposable {
  readonly folder = mkdtempSync(join(tmpdir(), 'certificates-'));
  #count = 0;

  authority(): Authority {
    const at = this.#next();
    this.#openssl([
      'req',
      '-x509',
      ...KEY,
      '-keyout',
      `${at}.key`,
      '-out',
      `${at}.pem`,
      '-subj',
      '/CN=authority',
      '-days',
      '2',
    ]);
    return {
      pem: readFileSync(`${at}.pem`, 'utf8'),
      path: `${at}.pem`,
      issue: (names, options = {}) => this.#issue(at, names, options.expired === true ? '-1' : '2'),
    };
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true, force: true });
  }

  #issue(authority: string, names: string, days: string): Pair {
    const at = this.#next();
    this.#openssl(['req', ...KEY, '-keyout', `${at}.key`, '-out', `${at}.csr`, '-subj', '/CN=leaf']);
    writeFileSync(`${at}.ext`, `subjectAltName=${names}\n`);
    this.#openssl([
      ...['x509', '-req', '-in', `${at}.csr`, '-CA', `${authority}.pem`, '-CAkey', `${authority}.key`],
      ...['-CAcreateserial', '-extfile', `${at}.ext`, '-days', days, '-out', `${at}.crt`],
    ]);
    const cert = readFileSync(`${at}.crt`, 'utf8');
    const key = readFileSync(`${at}.key`, 'utf8');
    writeFileSync(`${at}.both`, cert + key, { mode: 0o600 });
    return { cert, key, path: `${at}.both` };
  }

  #next(): string {
    this.#count += 1;
    return join(this.folder, `${this.#count}`);
  }

  #openssl(args: readonly string[]): void {
    execFileSync('openssl', args, { stdio: 'pipe' });
  }
}

const KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
