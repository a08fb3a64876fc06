/** Files of pool.yaml with one fault each, to be put together at will. */
import { parse, stringify } from 'yaml';

/** Sections of the pool, and keys of its architectures; `arm64` only where a case needs a second one. */
export interface Parts {
  readonly pool: Readonly<Record<string, unknown>>;
  readonly amd64: Readonly<Record<string, unknown>>;
  readonly arm64?: Readonly<Record<string, unknown>>;
}

export type Case = readonly [name: string, parts: Parts, problem: RegExp];

/** From flow or block YAML. */
function parts(pool: string, amd64 = '', arm64?: string): Parts {
  const read = (text: string) => (parse(text) ?? {}) as Record<string, unknown>;
  return {
    pool: read(pool),
    amd64: read(amd64),
    ...(arm64 === undefined ? {} : { arm64: read(arm64) }),
  };
}

/** A whole file. */
export function fileOf({ pool, amd64, arm64 }: Parts): string {
  const second = pool['autoscaling'] === 'off' ? { replicas: 4, ...arm64 } : arm64;
  const architectures = { amd64: { max: 8, ...amd64 }, ...(arm64 === undefined ? {} : { arm64: second }) };
  return stringify(
    {
      version: 1,
      cluster: { karpenter: { discovery: 'ci', role: 'nodes' } },
      pools: { buildkitd: { ...pool, architectures } },
    },
    { aliasDuplicateObjects: false },
  );
}

const NODES = (more: string) => `nodes: {instance-types: [m6id.24xlarge, m5d.24xlarge]${more}}`;

/** What is refused or warned about, and with what reason. Each file has that one fault only. */
export const CASES: readonly Case[] = [
  ['min above max', parts('', 'min: 9\nmax: 8'), /error: .*amd64\.min: 9 is more than max \(8\)/],
  [
    'a grace period shorter than the longest build',
    parts('builds: {longest: 3h}\nscale-down: {grace: 2h}'),
    /error: .*scale-down\.grace: 2h00m is too short for amd64: its longest build of 3h00m would be killed/,
  ],
  [
    'a grace period that leaves the drain no time for its looks',
    parts('builds: {longest: 2h}\nscale-down: {grace: 2h1m}'),
    /error: .*scale-down\.grace: .* write 2h01m or more/,
  ],
  [
    'spot nodes with long builds',
    parts('', NODES(', capacity: spot')),
    /error: .*nodes\.capacity: spot nodes give 2m00s of notice and the longest build takes 2h00m.*accept-lost-builds: true/,
  ],
  [
    'the same, accepted',
    parts('', NODES(', capacity: spot, accept-lost-builds: true')),
    /warning: .*nodes\.capacity: .*accepted by accept-lost-builds/,
  ],
  [
    'a window that Kubernetes refuses',
    parts('scale-down: {idle: 61m}'),
    /error: .*scale-down\.idle: `"61m"` does not fit: write a duration from 1m to 1h \(Kubernetes allows a stabilizationWindowSeconds of at most 3600\)/,
  ],
  [
    'a period that Kubernetes refuses',
    parts('scale-down: {idle: 1h, period: 31m}'),
    /error: .*scale-down\.period: .*periodSeconds of at most 1800/,
  ],
  [
    'a period longer than the window',
    parts('scale-down: {idle: 10m, period: 20m}'),
    /error: .*scale-down\.period: 20m00s is longer than the idle time \(10m00s\)/,
  ],
  [
    'a certificate that is renewed too late for a roll',
    parts('tls: {lifetime: 24h, renew-before: 2h}'),
    /error: .*tls\.renew-before: 2h00m is not longer than a roll of all builders \(2h18m\): buildkitd reads its certificate at start only/,
  ],
  [
    'a certificate that is renewed before it is made',
    parts('tls: {lifetime: 720h, renew-before: 720h}'),
    /error: .*tls\.renew-before: 720h00m is not less than the lifetime/,
  ],
  [
    'a certificate that leaves less than a day',
    parts('tls: {lifetime: 72h, renew-before: 24h}'),
    /warning: .*tls\.renew-before: 24h00m leaves less than a day beyond a roll/,
  ],
  [
    'an open pool without TLS',
    parts('tls: off\nexposure: {service: load-balancer, host: "{arch}.example.com"}'),
    /error: .*tls: off, together with a load balancer that anybody may reach/,
  ],
  [
    'certificates of which nobody hears when they end',
    parts('tls: {certificates: secrets, secrets: {balancer: a, balancer-client: b, builders: c}}'),
    /warning: .*\.monitoring: none, with TLS: nobody is told .* \(30 days\).*write prometheus-operator/,
  ],
  ['no TLS at all', parts('tls: off'), /warning: .*tls: off: whoever reaches the pool runs any code/],
  [
    'a load balancer without a name',
    parts('exposure: {service: load-balancer}'),
    /error: .*exposure\.host: `host` is missing/,
  ],
  [
    'one port and one name for two architectures',
    parts('exposure: {service: load-balancer, host: builds.example.com, ports: shared}', 'max: 8', 'max: 8'),
    /error: .*exposure\.host: .*put \{arch\} into it/,
  ],
  [
    'a load balancer of the cloud with nothing but the defaults',
    parts('exposure: {service: load-balancer, host: builds.example.com}'),
    /warning: .*exposure\.annotations: there are none, .*docs\/operations\.md/,
  ],
  [
    'ranges of clients, behind targets that hide them',
    parts(
      `exposure:
  service: load-balancer
  host: builds.example.com
  clients: {cidrs: [192.0.2.0/24]}
  annotations: {service.beta.kubernetes.io/aws-load-balancer-nlb-target-type: ip}`,
    ),
    /error: .*exposure\.annotations: .*nobody of `clients\.cidrs` .* write preserve_client_ip\.enabled=true/,
  ],
  [
    'instance metadata for builds',
    parts('egress: {cidrs: [10.0.12.34/32, 169.254.170.0/24]}'),
    /error: .*egress\.cidrs\[1\]: 169\.254\.170\.0\/24 has 169\.254\.0\.0\/16 in it, .*: write the addresses/,
  ],
  [
    'everything for builds, over IPv6',
    parts("egress: {cidrs: ['::/0']}"),
    /error: .*egress\.cidrs\[0\]: ::\/0 has fe80::\/10 in it/,
  ],
  [
    'a whole network for builds',
    parts('egress: {cidrs: [10.0.0.0/16]}'),
    /warning: .*egress\.cidrs\[0\]: 10\.0\.0\.0\/16 opens a whole network to every build/,
  ],
  [
    'a range that is none',
    parts('egress: {cidrs: [10.0.0.1]}'),
    /error: .*egress\.cidrs\[0\]: `"10\.0\.0\.1"` does not fit: write an address range such as 10\.0\.12\.34\/32/,
  ],
  [
    'an IPv4 range in the dress of IPv6',
    parts("egress: {cidrs: ['::ffff:169.254.169.254/128']}"),
    /error: .*egress\.cidrs\[0\]: .* does not fit: write an address range/,
  ],
  [
    'a mirror as an address of the web',
    parts('mirrors: {localhost: ["https://registry.example.com"]}'),
    /error: .*mirrors\.localhost\[0\]: .* does not fit: write a mirror as host, port and path without https:\/\//,
  ],
  [
    'mirrors without a list',
    parts('mirrors: {localhost: registry.example.com}'),
    /error: .*mirrors\.localhost: .* does not fit: write a list of mirrors/,
  ],
  [
    'a port of two owners',
    parts('balancer: {metrics-port: 12340}'),
    /error: .*balancer\.metrics-port: port 12340 is taken/,
  ],
  ['a port that needs root', parts('document: {port: 80}'), /error: .*document\.port: port 80 needs root/],
  [
    'fallback below min',
    parts('', 'min: 4\nmax: 8\nfallback: 2'),
    /error: .*fallback: 2 is less than min \(4\)/,
  ],
  ['fallback above max', parts('', 'max: 8\nfallback: 9'), /error: .*fallback: 9 is more than max \(8\)/],
  [
    'spare builders in a pool that should be empty',
    parts('', 'min: 0\nmax: 8\nspare: 2'),
    /error: .*spare: 2 spare builders and min: 0: the pool could never be empty/,
  ],
  [
    'a fixed number under autoscaling',
    parts('', 'max: 8\nreplicas: 4'),
    /error: .*replicas: a fixed number under autoscaling would reset the pool at every apply/,
  ],
  ['no number without autoscaling', parts('autoscaling: off'), /error: .*replicas: `replicas` is missing/],
  [
    'builds that are longer than the longest',
    parts('builds: {longest: 10m, typical: 20m}'),
    /error: .*builds\.typical: 20m00s is longer than the longest \(10m00s\)/,
  ],
  [
    'a wait beyond the exact order',
    parts('builds: {queue-timeout: 30h}'),
    /warning: .*queue-timeout: 30h00m: the order of the line is exact for waits of up to a day/,
  ],
  [
    'a builder too large for its node',
    parts('', `${NODES('')}\nbuilders-per-node: 2\nbuilder: {cpu: 60}`),
    /error: .*nodes\.instance-types\[0\]: a m6id\.24xlarge has 95\.19 cores.*too little for 2 of 60 cores/,
  ],
  [
    'a second type on which no builder fits',
    parts('', 'nodes: {instance-types: [m6id.24xlarge, m6id.4xlarge]}'),
    /error: .*nodes\.instance-types\[1\]: a m6id\.4xlarge has 15\.39 cores/,
  ],
  [
    'a node whose half is never used',
    parts('', 'nodes: {instance-types: [m6id.16xlarge, m6id.24xlarge]}'),
    /warning: .*nodes\.instance-types\[1\]: a m6id\.24xlarge .* more than a quarter of it is never used/,
  ],
  [
    'builders that are too small to build',
    parts('', 'nodes: {selector: {a: b}, size: {cpu: 2, memory: 16Gi, disk: 500Gi}}\nbuilders-per-node: 8'),
    /error: .*builders-per-node: a builder gets 0 cores of cpu .*fewer builders a node/,
  ],
  [
    'an instance type of another architecture',
    parts('', 'nodes: {instance-types: [m6id.24xlarge, m7gd.16xlarge]}'),
    /error: .*nodes\.instance-types\[1\]: `m7gd\.16xlarge` is arm64, not amd64/,
  ],
  [
    'an instance type of unknown size',
    parts('', 'nodes: {instance-types: [m6id.24xlarge, x9.huge]}'),
    /error: .*nodes\.instance-types\[1\]: the size of `x9\.huge` is not known here: write \{type: x9\.huge, cpu: …/,
  ],
  [
    'an instance type without a disk for caches',
    parts('', 'nodes: {instance-types: [m6id.24xlarge, m7i.24xlarge]}'),
    /error: .*nodes\.instance-types\[1\]: `m7i\.24xlarge` has no local disk.*root-volume/,
  ],
  [
    'a root volume beside local disks',
    parts('', 'nodes: {instance-types: [m6id.24xlarge, {type: m5d.24xlarge, root-volume: 500Gi}]}'),
    /error: .*instance-types\[1\]\.root-volume: `m5d\.24xlarge` has local disks/,
  ],
  [
    'volumes in several zones',
    parts('cache: {kind: volume}', NODES('')),
    /warning: .*nodes\.zones: a volume ties its builder to one zone/,
  ],
  [
    'a size for a cache that has none',
    parts('cache: {size: 100Gi}'),
    /error: .*cache\.size: only volumes have `size`/,
  ],
  [
    'priorities that nobody can see',
    parts('tls: off\npriorities: [{name: release, head-start: 10m, clients: [release]}]'),
    /error: .*priorities: a class is known by the client's certificate/,
  ],
  [
    'a client of two classes',
    parts(
      'priorities:\n- {name: release, head-start: 10m, clients: [a, b]}\n- {name: main, head-start: 5m, clients: [b]}',
    ),
    /error: .*priorities\[1\]\.clients: `b` is in release already/,
  ],
  [
    'Secrets that nobody gives',
    parts('tls: {certificates: secrets, mode: passthrough}'),
    /error: .*tls\.secrets\.builders: .*the Secret `builders` is needed/,
  ],
  ["somebody else's namespace", parts('namespace: keda'), /error: .*namespace: `keda` belongs to others/],
  [
    'a fixed number above max',
    parts('autoscaling: off', 'replicas: 9'),
    /error: .*replicas: 9 is not between min \(1\) and max \(8\)/,
  ],
  [
    'a fixed number below min',
    parts('autoscaling: off', 'min: 4\nreplicas: 2'),
    /error: .*replicas: 2 is not between min \(4\) and max \(8\)/,
  ],
  ['more spare builders than builders', parts('', 'spare: 9'), /error: .*spare: 9 is more than max \(8\)/],
  [
    'spare builders of a fixed number',
    parts('autoscaling: off', 'replicas: 4\nspare: 1'),
    /error: .*spare: a fixed number of builders has no spare ones/,
  ],
  [
    'a fallback of a fixed number',
    parts('autoscaling: off', 'replicas: 4\nfallback: 4'),
    /error: .*fallback: a fixed number of builders needs no fallback/,
  ],
  ['a ceiling below max', parts('', 'ceiling: 7'), /error: .*ceiling: 7 is less than max \(8\).*write 16/],
  ['a ceiling without room', parts('', 'ceiling: 8'), /warning: .*ceiling: 8 is max: raising max will need/],
  [
    'a deadline before the first builder is there',
    parts('builds: {cold-start: 5m, queue-timeout: 5m}'),
    /error: .*queue-timeout: 5m00s is not longer than a cold start/,
  ],
  [
    'a deadline that one slow start breaks',
    parts('builds: {cold-start: 5m, queue-timeout: 9m}'),
    /warning: .*queue-timeout: 9m00s is less than two cold starts/,
  ],
  [
    'a burst as large as the pool',
    parts('', 'builds: {burst: 8}'),
    /warning: .*amd64\.max: 8 leaves no headroom over the declared burst of 8.*write 9 or more/,
  ],
  [
    'a burst beyond what one line can hold',
    parts('', 'max: 1000\nceiling: 1024\nbuilds: {burst: 20000, typical: 10m}'),
    /error: .*builds\.burst: the load balancer would take 30208 clients for amd64 .* has ports for 28000 .*write a smaller burst/,
  ],
  [
    'a ceiling beyond what two doors to one line can hold',
    parts('exposure: {early-settings: 1300}', 'ceiling: 2048'),
    /error: .*amd64\.ceiling: the load balancer would take 32768 clients for amd64 .*write a lower ceiling/,
  ],
  [
    'a burst that never ends',
    parts('', 'builds: {burst: 8000}'),
    /error: .*builds\.burst: the last of 8000 builds would wait .* raise max or queue-timeout/,
  ],
  [
    'one port without TLS for two architectures',
    parts('tls: off\nexposure: {ports: shared}', '', 'max: 8'),
    /error: .*exposure\.ports: shared, without TLS/,
  ],
  [
    'a line whose load balancer sees nothing',
    parts('tls: {mode: passthrough}'),
    /warning: .*tls\.mode: passthrough: .*in which they dialled/,
  ],
  [
    'nobody who answers a handshake',
    parts('tls: {mode: passthrough}', 'min: 0'),
    /error: .*amd64\.min: no builder at all, with TLS pass-through: nobody answers the handshake/,
  ],
  [
    'early settings that cannot be sent',
    parts('tls: {mode: passthrough}\nexposure: {early-settings: 1300}'),
    /error: .*exposure\.early-settings: with TLS pass-through/,
  ],
  [
    'annotations for nobody',
    parts('exposure: {annotations: {a: b}}'),
    /warning: .*exposure\.annotations: annotations are for a load balancer of the cloud/,
  ],
  [
    'ports beyond the last',
    parts('exposure: {service: load-balancer, host: "{arch}.example.com", port: 65535}', '', 'max: 8'),
    /error: .*exposure\.port: the ports of all architectures from here go beyond 65535/,
  ],
  [
    'a name that is no name',
    parts(`exposure: {host: ${'a'.repeat(64)}.example.com}`),
    /error: .*exposure\.host: .* has a part of more than 63 characters: shorten it/,
  ],
  [
    'an issuer of Secrets that others make',
    parts(
      'tls: {certificates: secrets, issuer: {name: ca}, secrets: {balancer: a, balancer-client: b, builders: c}}',
    ),
    /error: .*tls\.issuer: only cert-manager has issuers/,
  ],
  [
    'Secrets that cert-manager makes',
    parts('tls: {secrets: {builders: c}}'),
    /error: .*tls\.secrets: cert-manager makes the Secrets itself/,
  ],
  [
    'a folder for a volume',
    parts('cache: {kind: volume, path: /cache}'),
    /error: .*cache\.path: a volume is mounted where BuildKit wants it/,
  ],
  [
    'half of a size',
    parts('', 'nodes: {selector: {a: b}, size: {cpu: 16, memory: 64Gi}}'),
    /error: .*nodes\.size\.disk: `disk` is missing/,
  ],
  [
    'builders that are more than their node',
    parts('', 'nodes: {selector: {a: b}, size: {cpu: 16, memory: 64Gi, disk: 500Gi}}\nbuilder: {cpu: 20}'),
    /error: .*builder\.cpu: 1 builders of 20\.1 cores, the gate included, need more/,
  ],
  [
    'a cache that is not on the local disks',
    parts('cache: {path: /var/lib/buildkit-pool}', NODES('')),
    /error: .*cache\.path: `\/var\/lib\/buildkit-pool` is not on the local disks of amd64's nodes/,
  ],
];
