/** Where one architecture's line begins: a TCP address of the pool's load balancer. */
export interface Endpoint {
  readonly host: string;
  readonly port: number;
  /** As a person writes it: `tcp://host:port`. */
  readonly url: string;
}

export type EndpointResult =
  | { readonly kind: 'endpoint'; readonly endpoint: Endpoint }
  | { readonly kind: 'problem'; readonly problem: string };

/** Reads `tcp://host:port`, with `{arch}` standing for `arch` wherever it occurs. Says what is wrong and what would be right. */
export function parseEndpoint(text: string, arch: string): EndpointResult {
  const example = 'write it as tcp://host:port, for instance tcp://buildkitd-{arch}.buildkit.svc:1234';
  const problem = (what: string): EndpointResult => ({ kind: 'problem', problem: `${what}; ${example}` });

  const filled = text.replaceAll('{arch}', arch);
  if (!filled.startsWith('tcp://')) return problem('it does not start with tcp://');
  if (!URL.canParse(filled)) return problem('it is not a URL');
  const url = new URL(filled);
  if (url.username !== '' || url.password !== '') return problem('it carries a user name or password');
  if (url.pathname !== '' && url.pathname !== '/') return problem('it carries a path');
  if (url.search !== '' || url.hash !== '') return problem('it carries a query or fragment');
  if (url.hostname === '' || /[{}\s]|%7B|%7D/i.test(url.hostname)) return problem('it names no usable host');
  const port = Number(url.port);
  if (url.port === '' || port < 1) return problem('it names no port');

  const host = url.hostname.replace(/^\[(.*)\]$/, '$1');
  return { kind: 'endpoint', endpoint: { host, port, url: `tcp://${url.hostname}:${port}` } };
}
