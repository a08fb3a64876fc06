/** The inputs of TLS. Their values appear in no message: what was given as one may be another, or a broken key. */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { checkTlsMaterial, type TlsMaterial } from '../../queue/tls.ts';
import type { InputSource, InputTable, Problems } from './source.ts';

export const TLS_INPUTS = {
  ca: {
    description:
      "Certificate of the authority that signed the load balancer's: PEM, or the path of a file; else BUILDER_NODE_0_AUTH_TLS_CACERT",
  },
  cert: {
    description:
      'Client certificate for the pool: PEM, or the path of a file; else BUILDER_NODE_0_AUTH_TLS_CERT',
  },
  key: {
    description:
      'Its private key: PEM (a secret), or the path of a file; else BUILDER_NODE_0_AUTH_TLS_KEY. It is kept in memory only',
  },
  'server-name': {
    description:
      "Name in the load balancer's certificate, where it differs from the host that is dialled; by default what the pool document says",
  },
} as const satisfies InputTable;

/** The variables that docker/setup-buildx-action reads. */
const VARIABLES = {
  ca: 'BUILDER_NODE_0_AUTH_TLS_CACERT',
  cert: 'BUILDER_NODE_0_AUTH_TLS_CERT',
  key: 'BUILDER_NODE_0_AUTH_TLS_KEY',
} as const;

/** Undefined: no TLS input at all, which means plain TCP unless the pool document says otherwise. */
export function readTls(source: InputSource, problems: Problems, nowMs: number): TlsMaterial | undefined {
  const before = problems.found.length;
  const names = { ca: '', cert: '', key: '', 'server-name': 'server-name' };
  const read = (part: keyof typeof VARIABLES): string | undefined => {
    const input = source.read(part);
    const text = input === '' ? (source.env[VARIABLES[part]] ?? '').trim() : input;
    names[part] = input === '' && text !== '' ? VARIABLES[part] : part;
    return text === '' ? undefined : readPem(names[part], text, source, problems);
  };
  const [ca, cert, key] = [read('ca'), read('cert'), read('key')];
  const serverName = source.read('server-name');
  const material: TlsMaterial = {
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
    ...(serverName === '' ? {} : { serverName }),
  };
  // A part that could not be read is a problem already: what the others lack then says nothing.
  if (problems.found.length > before) return undefined;
  for (const { part, problem } of checkTlsMaterial(material, nowMs)) {
    problems.addPlain(`\`${names[part]}\` ${problem}`);
  }
  return Object.keys(material).length === 0 ? undefined : material;
}

function readPem(name: string, text: string, source: InputSource, problems: Problems): string | undefined {
  if (text.includes('-----BEGIN')) {
    // Secrets that went through JSON have their line ends as two characters.
    return text.includes('\n') ? text : text.replaceAll('\\n', '\n');
  }
  const neither = (why: string) =>
    problems.addPlain(`\`${name}\` is neither PEM nor the path of a file that can be read (${why})`);
  if (text.includes('\0') || text.includes('\n')) return neither('it is no path');
  try {
    return readFileSync(resolve(source.workspace, text), 'utf8');
  } catch (error) {
    return neither((error as NodeJS.ErrnoException).code ?? 'it is no path');
  }
}
