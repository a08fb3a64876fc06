/** Certificates for tests, by openssl: a CA, and what it signs. */
import { execFile } from 'node:child_process';
import { appendFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

export interface Authority {
  readonly folder: string;
  readonly certificatePath: string;
}

/** A key pair as a Kubernetes Secret lays it down: `tls.crt`, `tls.key`, `ca.crt` in one folder. */
export interface KeyPair {
  readonly folder: string;
  readonly certificatePath: string;
  readonly keyPath: string;
  readonly caPath: string;
}

const CURVE = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];

export async function makeAuthority(folder: string, commonName: string): Promise<Authority> {
  await mkdir(folder, { recursive: true });
  const certificatePath = join(folder, 'ca.crt');
  await run('openssl', [
    ...['req', '-x509', ...CURVE, '-days', '2', '-subj', `/CN=${commonName}`],
    ...['-keyout', join(folder, 'ca.key'), '-out', certificatePath],
  ]);
  return { folder, certificatePath };
}

/** Makes, or replaces, the pair in `folder`. `names` are DNS names for its subjectAltName. */
export async function issue(
  authority: Authority,
  folder: string,
  commonName: string,
  names: readonly string[],
): Promise<KeyPair> {
  await mkdir(folder, { recursive: true });
  const pair: KeyPair = {
    folder,
    certificatePath: join(folder, 'tls.crt'),
    keyPath: join(folder, 'tls.key'),
    caPath: join(folder, 'ca.crt'),
  };
  const request = join(folder, 'request.pem');
  const extensions = join(folder, 'extensions.cnf');
  await run('openssl', [
    'req',
    ...['-new', ...CURVE, '-subj', `/CN=${commonName}`],
    ...['-keyout', pair.keyPath, '-out', request],
  ]);
  const alternatives =
    names.length === 0 ? '' : `subjectAltName=${names.map((name) => `DNS:${name}`).join(',')}\n`;
  await writeFile(extensions, `basicConstraints=CA:FALSE\n${alternatives}`);
  await run('openssl', [
    ...['x509', '-req', '-in', request, '-days', '1', '-extfile', extensions, '-out', pair.certificatePath],
    ...['-CA', authority.certificatePath, '-CAkey', join(authority.folder, 'ca.key'), '-CAcreateserial'],
  ]);
  await trust(pair, [authority]);
  return pair;
}

/** Writes which authorities the holder of `pair` trusts. */
export async function trust(pair: KeyPair, authorities: readonly Authority[]): Promise<void> {
  await writeFile(pair.caPath, '');
  for (const { certificatePath } of authorities) {
    await appendFile(pair.caPath, await readFile(certificatePath));
  }
}
