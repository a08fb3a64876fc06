/**
 * Mutual TLS to the load balancer. Keys live in this process's memory only: they are never written, logged, or given to
 * a child.
 */
import type { KeyObject, X509Certificate } from 'node:crypto';
import { isIP, type Socket } from 'node:net';
import type { ConnectionOptions, TLSSocket } from 'node:tls';
import { LineFailure } from './failure.ts';

/** Loaded when they are needed: together they take 20 ms, which a pool without TLS need not wait for. */
const crypto = () => process.getBuiltinModule('node:crypto');
const tls = () => process.getBuiltinModule('node:tls');

/** What a connection to a pool with TLS needs. PEM contents, never paths. */
export interface TlsMaterial {
  /** Who signs the load balancer's certificate; the system's authorities when left out. */
  readonly ca?: string;
  /** Ours, with what leads to its signer. */
  readonly cert?: string;
  readonly key?: string;
  /** The name in the load balancer's certificate, sent as SNI; the host that is dialled when left out. */
  readonly serverName?: string;
}

/** What is wrong with one part, as words that follow its name. Never holds any of its contents. */
export interface TlsProblem {
  readonly part: 'ca' | 'cert' | 'key' | 'server-name';
  readonly problem: string;
}

/** Everything that can be told before anything is opened. */
export function checkTlsMaterial(material: TlsMaterial, nowMs: number): readonly TlsProblem[] {
  const { ca, cert, key, serverName } = material;
  const authorities = ca === undefined ? undefined : readCertificates(ca);
  const own = cert === undefined ? undefined : readCertificates(cert);
  const secret = key === undefined ? undefined : readKey(key);
  const problems: TlsProblem[] = [];
  const add = (part: TlsProblem['part'], problem: string | undefined) => {
    if (problem !== undefined) problems.push({ part, problem });
  };

  if (typeof authorities === 'string') add('ca', authorities);
  else if (authorities !== undefined) {
    // A bundle may keep authorities that have had their time beside those that sign today.
    const ends = authorities.map((authority) => outsideLife(authority, nowMs));
    if (ends.every((end) => end !== undefined)) add('ca', ends[0]);
  }
  if (typeof own === 'string') add('cert', own);
  else if (own?.[0] !== undefined) add('cert', outsideLife(own[0], nowMs));
  if (typeof secret === 'string') add('key', secret);
  if (cert !== undefined && key === undefined)
    add('key', 'is not given, but `cert` is: give both or neither');
  if (key !== undefined && cert === undefined)
    add('cert', 'is not given, but `key` is: give both or neither');
  if (typeof own === 'object' && typeof secret === 'object' && own[0]?.checkPrivateKey(secret) === false) {
    add('key', 'is not the key of the first certificate in `cert`: give the pair that was issued together');
  }
  if (problems.length === 0) {
    try {
      // What OpenSSL itself will not have, such as a key too short, would end the process later.
      tls().createSecureContext(contextOf(material));
    } catch (error) {
      const { code = 'unknown' } = error as NodeJS.ErrnoException;
      add(cert === undefined ? 'ca' : 'cert', `can’t be used for TLS (${code})`);
    }
  }
  if (
    serverName !== undefined &&
    isIP(serverName) === 0 &&
    !/^[a-z0-9_]([a-z0-9_.-]*[a-z0-9])?$/i.test(serverName)
  ) {
    add(
      'server-name',
      'is no host name: give the name in the load balancer’s certificate, without port or scheme',
    );
  }
  return problems;
}

function contextOf({ ca, cert, key }: TlsMaterial): Pick<ConnectionOptions, 'ca' | 'cert' | 'key'> {
  return {
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
  };
}

const PEM_CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g;

function readCertificates(pem: string): readonly X509Certificate[] | string {
  const blocks = pem.match(PEM_CERTIFICATE) ?? [];
  if (blocks.length === 0) {
    return 'holds no certificate: give PEM, from -----BEGIN CERTIFICATE----- to -----END CERTIFICATE-----';
  }
  try {
    return blocks.map((block) => new (crypto().X509Certificate)(block));
  } catch {
    return 'holds a certificate that can’t be read: was a part of it lost in copying?';
  }
}

function readKey(pem: string): KeyObject | string {
  if (!/-----BEGIN [A-Z ]*PRIVATE KEY-----/.test(pem)) {
    return 'holds no private key: give PEM, from -----BEGIN PRIVATE KEY----- to -----END PRIVATE KEY-----';
  }
  if (/-----BEGIN ENCRYPTED|^Proc-Type:.*ENCRYPTED/m.test(pem)) {
    return 'is encrypted with a password, which nobody can type here: give the plain key, as a secret';
  }
  try {
    return crypto().createPrivateKey(pem);
  } catch {
    return 'can’t be read: was a part of it lost in copying?';
  }
}

function outsideLife(certificate: X509Certificate, nowMs: number): string | undefined {
  const until = certificate.validToDate;
  const from = certificate.validFromDate;
  if (until.getTime() < nowMs) return `expired on ${day(until)}: issue a new one`;
  if (from.getTime() > nowMs) return `is not valid before ${day(from)}: is this machine’s clock right?`;
  return undefined;
}

function day(date: Date): string {
  return date.toISOString().replace('.000Z', 'Z');
}

/** Starts TLS on a connection that stands. What fails shows as an `error` of the socket it gives; see `tlsFailure`. */
export function startTls(socket: Socket, host: string, material: TlsMaterial): TLSSocket {
  const name = material.serverName ?? host;
  const options: ConnectionOptions = {
    socket,
    host: name,
    // SNI has no addresses (RFC 6066, section 3); the certificate is checked against them all the same.
    ...(isIP(name) === 0 ? { servername: name } : {}),
    checkServerIdentity: (_, certificate) => tls().checkServerIdentity(name, certificate),
    ALPNProtocols: ['h2'],
    minVersion: 'TLSv1.2',
    ...contextOf(material),
  };
  return tls().connect(options);
}

/**
 * The failure that an error of a TLS connection stands for; undefined when it is none of TLS's own. Node reports what
 * it found itself by names such as CERT_HAS_EXPIRED, and what the other end said (an alert) by ERR_SSL_…_ALERT_…
 * With TLS 1.3 the other end judges our certificate after our handshake is over: that alert comes on the first read.
 */
export function tlsFailure(
  url: string,
  material: TlsMaterial,
  error: NodeJS.ErrnoException,
): LineFailure | undefined {
  const code = error.code ?? '';
  const name = material.serverName;
  const failure = (what: 'tls-refused' | 'tls-untrusted', message: string) =>
    new LineFailure(what, `${url} ${message} (${code})`, { cause: error });
  switch (code) {
    case 'CERT_HAS_EXPIRED':
      return failure('tls-untrusted', 'has a certificate that has expired: the pool must renew it');
    case 'CERT_NOT_YET_VALID':
      return failure(
        'tls-untrusted',
        'has a certificate that is not valid yet: is this machine’s clock right?',
      );
    case 'ERR_TLS_CERT_ALTNAME_INVALID':
      return failure(
        'tls-untrusted',
        `has a certificate for another name than ${name ?? 'the host that was dialled'}, namely for ${namesOf(error)}: set \`server-name\` to one of those, or check the address`,
      );
    case 'UNABLE_TO_VERIFY_LEAF_SIGNATURE':
    case 'UNABLE_TO_GET_ISSUER_CERT':
    case 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY':
    case 'SELF_SIGNED_CERT_IN_CHAIN':
    case 'DEPTH_ZERO_SELF_SIGNED_CERT':
    case 'CERT_SIGNATURE_FAILURE':
      return failure(
        'tls-untrusted',
        `has a certificate that is signed by ${material.ca === undefined ? 'nobody whom this machine trusts: give the pool’s authority as `ca`' : 'another authority than the one in `ca`'}`,
      );
    case 'ERR_SSL_WRONG_VERSION_NUMBER':
    case 'ERR_SSL_PACKET_LENGTH_TOO_LONG':
      return failure('tls-refused', 'does not speak TLS: check the port, or leave the TLS inputs out');
  }
  if (code.includes('ALERT_CERTIFICATE_EXPIRED')) {
    return failure(
      'tls-refused',
      'refused our certificate because it has expired: issue a new one for `cert`',
    );
  }
  if (code.includes('ALERT_UNKNOWN_CA')) {
    return failure(
      'tls-refused',
      'refused our certificate: `cert` is signed by another authority than the pool’s',
    );
  }
  if (code.includes('ALERT_CERTIFICATE_REVOKED')) {
    return failure(
      'tls-refused',
      'refused our certificate because it was revoked: issue a new one for `cert`',
    );
  }
  if (
    code.includes('ALERT_CERTIFICATE_REQUIRED') ||
    (code.includes('ALERT_HANDSHAKE_FAILURE') && material.cert === undefined)
  ) {
    return failure('tls-refused', 'lets nobody in without a client certificate: give `cert` and `key`');
  }
  if (
    code.includes('ALERT_BAD_CERTIFICATE') ||
    code.includes('ALERT_UNSUPPORTED_CERTIFICATE') ||
    code.includes('ALERT_CERTIFICATE_UNKNOWN')
  ) {
    return failure('tls-refused', 'refused our certificate: `cert` is not one that may use this pool');
  }
  if (code.startsWith('ERR_SSL_') || code.startsWith('ERR_TLS_') || code.startsWith('CERT_')) {
    return failure('tls-refused', `could not agree on TLS with us: ${error.message.split('\n')[0] ?? ''}`);
  }
  return undefined;
}

/** The names in the certificate that was not the right one. */
function namesOf(error: Error): string {
  const { cert } = error as { cert?: { subjectaltname?: string } };
  return cert?.subjectaltname ?? 'no name at all';
}
