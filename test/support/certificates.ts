/** Certificates for tests, by openssl: a CA, and what it signs. */
import { execFile } from 'node:child_process';
import { renameSync, writeFileSync } from 'node:fs';
import {
  copyFile,
  mkdir,
  mkdtemp,
  readFile,
  realpath,
  rename,
  rm,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { basename, join } from 'node:path';
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

/**
 * Makes, or replaces, the pair in `folder`. `names` are DNS names for its subjectAltName. Certificate and key change in one
 * turn of this process, in which clients dial again at any moment.
 */
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
  const [newCertificate, newKey] = [`${pair.certificatePath}.new`, `${pair.keyPath}.new`];
  await run('openssl', [
    'req',
    ...['-new', ...CURVE, '-subj', `/CN=${commonName}`],
    ...['-keyout', newKey, '-out', request],
  ]);
  const alternatives =
    names.length === 0 ? '' : `subjectAltName=${names.map((name) => `DNS:${name}`).join(',')}\n`;
  await writeFile(extensions, `basicConstraints=CA:FALSE\n${alternatives}`);
  await run('openssl', [
    ...['x509', '-req', '-in', request, '-days', '1', '-extfile', extensions, '-out', newCertificate],
    ...['-CA', authority.certificatePath, '-CAkey', join(authority.folder, 'ca.key'), '-CAcreateserial'],
  ]);
  renameSync(newKey, pair.keyPath);
  renameSync(newCertificate, pair.certificatePath);
  await trust(pair, [authority]);
  return pair;
}

/** Writes which authorities the holder of `pair` trusts. */
export async function trust(pair: KeyPair, authorities: readonly Authority[]): Promise<void> {
  const certificates = await Promise.all(
    authorities.map(({ certificatePath }) => readFile(certificatePath, 'utf8')),
  );
  writeFileSync(pair.caPath, certificates.join(''));
}

/** Makes or renews `folder` as the kubelet does a Secret's: all files change at once, by a link that is led elsewhere. */
export async function mountSecret(pair: KeyPair, folder: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  const data = join(folder, '..data');
  const version = await mkdtemp(join(folder, '..version-'));
  for (const path of [pair.certificatePath, pair.keyPath, pair.caPath]) {
    const file = basename(path);
    await copyFile(path, join(version, file));
    await rm(join(folder, file), { force: true });
    await symlink(join('..data', file), join(folder, file));
  }
  const before = await realpath(data).catch(() => null);
  await symlink(basename(version), join(folder, '..data_tmp'));
  await rename(join(folder, '..data_tmp'), data);
  if (before !== null) await rm(before, { recursive: true });
}
