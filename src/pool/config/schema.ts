/**
 * pool.yaml as a person writes it. One definition gives the types, the checks of each value by itself and the published
 * JSON Schema (schemas/pool.schema.json). What values mean together is checked after it, where the numbers are known.
 */
import { isIP } from 'node:net';
import { z } from 'zod';
import { DEFAULTS } from './defaults.ts';
import { CPU_PATTERN, DURATION_PATTERN, parseCpu, parseDuration, parseSize, SIZE_PATTERN } from './units.ts';

/** Where the published schema lives; a pool.yaml may name it for its editor. */
export const SCHEMA_ID =
  'https://raw.githubusercontent.com/buildkit-pool/buildkit-pool/main/schemas/pool.schema.json';

interface About {
  readonly description: string;
  readonly default?: unknown;
}

function about(description: string, byDefault?: unknown): About {
  return byDefault === undefined ? { description } : { description, default: byDefault };
}

function duration(what: About, least: string, most: string, example: string, why = '') {
  const remedy = `write a duration from ${least} to ${most}${why}, such as ${example}`;
  const [leastMs, mostMs] = [parseDuration(least) ?? 0, parseDuration(most) ?? 0];
  return z
    .string({ error: remedy })
    .regex(DURATION_PATTERN, { error: remedy })
    .refine(
      (text) => {
        const ms = parseDuration(text);
        return ms !== undefined && leastMs <= ms && ms <= mostMs;
      },
      { error: remedy },
    )
    .meta({ ...what, examples: [example] })
    .optional();
}

function integer(what: About, least: number, most: number) {
  const remedy = `write a whole number from ${least} to ${most}`;
  return z
    .int({ error: remedy })
    .min(least, { error: remedy })
    .max(most, { error: remedy })
    .meta({ ...what })
    .optional();
}

function size(what: About, least: string, most: string, example: string) {
  const remedy = `write a size from ${least} to ${most} with its unit, such as ${example}`;
  const [leastBytes, mostBytes] = [parseSize(least) ?? 0, parseSize(most) ?? 0];
  return z
    .string({ error: remedy })
    .regex(SIZE_PATTERN, { error: remedy })
    .refine(
      (text) => {
        const bytes = parseSize(text);
        return bytes !== undefined && leastBytes <= bytes && bytes <= mostBytes;
      },
      { error: remedy },
    )
    .meta({ ...what, examples: [example] })
    .optional();
}

function cpu(what: About) {
  const remedy = 'write cores from 100m to 1024, such as 4 or 500m';
  const inRange = (millis: number | undefined) =>
    millis !== undefined && millis >= 100 && millis <= 1_024_000;
  return z
    .union(
      [
        z.number({ error: remedy }).refine((cores) => inRange(Math.round(cores * 1000)), { error: remedy }),
        z
          .string({ error: remedy })
          .regex(CPU_PATTERN, { error: remedy })
          .refine((written) => inRange(parseCpu(written)), { error: remedy }),
      ],
      { error: remedy },
    )
    .meta({ ...what, examples: [4, '500m'] })
    .optional();
}

function choice<const Choices extends readonly [string, ...string[]]>(what: About, choices: Choices) {
  return z
    .enum(choices, { error: `write ${listing(choices)}` })
    .meta({ ...what })
    .optional();
}

function text(pattern: RegExp, remedy: string) {
  return z.string({ error: remedy }).regex(pattern, { error: remedy });
}

function flag(what: About) {
  return z
    .boolean({ error: 'write true or false' })
    .meta({ ...what })
    .optional();
}

/** `a, b or c`. */
export function listing(words: readonly string[]): string {
  return words.length < 2 ? words.join('') : `${words.slice(0, -1).join(', ')} or ${words.at(-1)}`;
}

const LABEL = /^[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?$/;
const SUBDOMAIN = /^(?=.{1,253}$)[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*$/;
/** A key of a label or annotation: a prefix of at most 253 characters, a slash, a name of at most 63. */
const LABEL_KEY =
  /^(?:[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?\/)?[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/;
const LABEL_VALUE = /^(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$/;
const REFERENCE = /^[a-z0-9][-a-z0-9._:/]*(?::[A-Za-z0-9_][-A-Za-z0-9_.]{0,127})?(?:@sha256:[0-9a-f]{64})?$/;

function isAddressRange(written: string): boolean {
  const [address = '', bits = '', ...rest] = written.split('/');
  const most = { 0: -1, 4: 32, 6: 128 }[isIP(address)] ?? -1;
  // Kubernetes refuses, or takes for IPv4, what is IPv4 in the dress of IPv6.
  const dressed = /^::ffff:/i.test(address);
  return !dressed && rest.length === 0 && /^\d{1,3}$/.test(bits) && Number(bits) <= most;
}

const addressRange = (example: string) => {
  const remedy = `write an address range such as ${example}`;
  return z.string({ error: remedy }).refine(isAddressRange, { error: remedy });
};

const dnsLabel = (remedy = 'write a DNS label: lower-case letters, digits and dashes, a letter first') =>
  text(LABEL, remedy);
const namespaceName = (what: About) =>
  dnsLabel("write a namespace's name")
    .meta({ ...what })
    .optional();
const objectName = (what: About) =>
  text(SUBDOMAIN, "write an object's name in lower case")
    .meta({ ...what })
    .optional();

const labels = (what: About) =>
  z
    .record(
      text(LABEL_KEY, "write a label's key"),
      text(
        LABEL_VALUE,
        "write a label's value as a string of at most 63 characters; numbers and true need quotes",
      ),
      { error: 'write a map of strings' },
    )
    .meta({ ...what })
    .optional();

const annotations = (what: About) =>
  z
    .record(
      text(LABEL_KEY, "write an annotation's key"),
      z.string({ error: 'write a string; numbers and true need quotes' }),
      { error: 'write a map of strings' },
    )
    .meta({ ...what })
    .optional();

function list<Item extends z.ZodType>(item: Item, what: About, remedy: string, least = 0) {
  return z
    .array(item, { error: remedy })
    .min(least, { error: remedy })
    .max(64, { error: 'write at most 64' })
    .meta({ ...what })
    .optional();
}

/** `id`: its name among the definitions of the JSON Schema, where it occurs more than once. */
function section<Shape extends z.core.$ZodLooseShape>(description: string, shape: Shape, id?: string) {
  return z
    .strictObject(shape, { error: 'write a map' })
    .meta(id === undefined ? { description } : { description, id });
}

const toleration = section(
  'A taint that is put up with.',
  {
    key: text(LABEL_KEY, "write the taint's key").meta({ description: "The taint's key." }),
    value: text(LABEL_VALUE, "write the taint's value as a string")
      .meta({ description: "The taint's value; any without." })
      .optional(),
    effect: choice(about("The taint's effect; any without."), [
      'NoSchedule',
      'PreferNoSchedule',
      'NoExecute',
    ]),
  },
  'toleration',
);

const tolerations = list(toleration, about('Taints that are put up with.'), 'write a list of tolerations');

const port = (what: About) => integer(what, 1, 65_535);

const karpenter = section('Karpenter on EKS; needed where nodes are given as instance types.', {
  discovery: text(/^[\w.@:/=+-]{1,128}$/, 'write the value of the tag karpenter.sh/discovery').meta({
    description: 'Value of the tag `karpenter.sh/discovery` on the subnets and security groups of the nodes.',
  }),
  role: text(/^[\w+=,.@-]{1,64}$/, "write the name of the nodes' IAM role").meta({
    description: "Name of the nodes' IAM role.",
  }),
  ami: text(/^[a-z0-9]+@[\w.-]+$/, 'write an alias such as al2023@v20260901')
    .meta({
      ...about(
        'AMI alias. With `latest` each new node has the newest; one with builders keeps its own until it is rolled.',
        DEFAULTS.karpenter.ami,
      ),
    })
    .optional(),
  'empty-after': duration(
    about('How long a node stands empty before it goes.', DEFAULTS.karpenter.emptyAfter),
    '0s',
    '24h',
    '5m',
  ),
  'working-hours': section('When nodes are never replaced because their definition changed.', {
    from: text(
      /^(?:[\d*,/-]+ +){3}[\da-zA-Z*,/-]+ +[\da-zA-Z*,/-]+$/,
      'write a cron line in UTC, such as 0 6 * * mon-fri',
    )
      .meta({ ...about('Begin, a cron line in UTC.', DEFAULTS.karpenter.workingHours.from) })
      .optional(),
    lasts: duration(about('How long from then.', DEFAULTS.karpenter.workingHours.lasts), '1h', '168h', '14h'),
  }).optional(),
});

const cluster = section('The cluster that all pools live in.', {
  domain: text(SUBDOMAIN, 'write the DNS domain of Services, such as cluster.local')
    .meta({ ...about('DNS domain of Services.', DEFAULTS.cluster.domain) })
    .optional(),
  kubernetes: text(/^1\.[3-9]\d$/, "write the cluster's version in quotes, '1.30' or later, such as '1.34'")
    .meta({
      ...about(
        'Version of the cluster, in quotes. From 1.35 the autoscaler gets a tolerance of its own.',
        DEFAULTS.cluster.kubernetes,
      ),
    })
    .optional(),
  'create-namespaces': flag(
    about('Whether Namespace objects are rendered.', DEFAULTS.cluster.createNamespaces),
  ),
  'keda-namespace': namespaceName(
    about(
      'Where KEDA runs. It must get through the network policies to read the line.',
      DEFAULTS.cluster.kedaNamespace,
    ),
  ),
  'monitoring-namespace': namespaceName(
    about('Where Prometheus runs. Likewise.', DEFAULTS.cluster.monitoringNamespace),
  ),
  'monitoring-labels': labels(
    about(
      'Labels that make the Prometheus operator see ServiceMonitors and rules, such as `release: kube-prometheus-stack`.',
    ),
  ),
  dns: section("The cluster's DNS.", {
    address: z
      .string({ error: 'write an IP address, such as 10.96.0.10' })
      .refine((address) => isIP(address) !== 0, {
        error: 'write an IP address, such as 10.96.0.10',
      })
      .meta({ description: "Its Service's IP; without, the load balancer pod's own resolv.conf tells it." })
      .optional(),
    namespace: namespaceName(about('Where its pods run.', DEFAULTS.cluster.dnsNamespace)),
    labels: labels(about('Labels of its pods.', DEFAULTS.cluster.dnsLabels)),
  }).optional(),
  karpenter: karpenter.optional(),
}).meta({ description: 'The cluster that all pools live in.' });

const builds = section(
  'What the builds are like.',
  {
    longest: duration(
      about('The longest build there is. Nothing is ever ended earlier than that.', DEFAULTS.builds.longest),
      '1m',
      '168h',
      '2h',
    ),
    typical: duration(about('A usual one.', DEFAULTS.builds.typical), '1s', '168h', '15m'),
    'cold-start': duration(
      about(
        'From wanting one more builder to its first build: a new node, its images, the start.',
        DEFAULTS.builds.coldStart,
      ),
      '1s',
      '24h',
      '5m',
    ),
    burst: integer(about('How many builds join at about the same time, an architecture.'), 1, 100_000),
    'queue-timeout': duration(
      about('How long a build waits for a builder before its job fails. Without: derived.'),
      '1s',
      '168h',
      '4h',
    ),
  },
  'builds',
);

const scaleDown = section(
  'How the pool shrinks, and how builders end.',
  {
    idle: duration(
      about(
        'A builder goes when it was not needed at any moment of this time. At most an hour (Kubernetes).',
        DEFAULTS.scaleDown.idle,
      ),
      '1m',
      '1h',
      '20m',
      ' (Kubernetes allows a stabilizationWindowSeconds of at most 3600)',
    ),
    'at-once': section('How many may go in one period: the larger of the two.', {
      builders: integer(about('This many.', DEFAULTS.scaleDown.builders), 1, 1000),
      percent: integer(about('This part of them.', DEFAULTS.scaleDown.percent), 1, 100),
    }).optional(),
    period: duration(
      about('The period, at most half an hour (Kubernetes). Without: the idle time, or half an hour.'),
      '15s',
      '30m',
      '20m',
      ' (Kubernetes allows a periodSeconds of at most 1800)',
    ),
    grace: duration(
      about('How long a terminating builder may go on. Without: derived from the longest build.'),
      '1m',
      '336h',
      '2h30m',
    ),
  },
  'scale-down',
);

const tls = z
  .union(
    [
      z.literal('off'),
      section('Mutual TLS.', {
        mode: choice(
          about(
            'Where it ends: in the load balancer (and encrypted again to the builders), or in the builders.',
            DEFAULTS.tls.mode,
          ),
          ['terminate', 'passthrough'],
        ),
        certificates: choice(
          about('Who makes the certificates: cert-manager, or you, as Secrets.', DEFAULTS.tls.certificates),
          ['cert-manager', 'secrets'],
        ),
        issuer: section("Who signs; without, a CA of the pool's own. Only with cert-manager.", {
          kind: choice(about('Its kind.', 'ClusterIssuer'), ['Issuer', 'ClusterIssuer']),
          name: text(SUBDOMAIN, "write the issuer's name").meta({ description: 'Its name.' }),
        }).optional(),
        lifetime: duration(
          about('How long a certificate is valid.', DEFAULTS.tls.lifetime),
          '1h',
          '87600h',
          '2160h',
        ),
        'renew-before': duration(
          about('How long before its end it is renewed.', DEFAULTS.tls.renewBefore),
          '5m',
          '87600h',
          '720h',
        ),
        secrets: section(
          'Names of Secrets with tls.crt, tls.key and ca.crt. Only with `certificates: secrets`.',
          {
            balancer: objectName(about('What clients see; its ca.crt signs the clients.')),
            'balancer-client': objectName(
              about("The load balancer as the builders' client; its ca.crt signs the builders."),
            ),
            builders: objectName(about("The builders' certificate; its ca.crt signs their clients.")),
          },
        ).optional(),
      }),
    ],
    { error: 'write off, or a map with mode and certificates' },
  )
  .meta({ description: 'Mutual TLS, or `off`.', id: 'tls' });

const cache = section(
  'Where builders keep their cache.',
  {
    kind: choice(about('In a slot on the node, or on a volume of its own an ordinal.', DEFAULTS.cache.kind), [
      'node-local',
      'volume',
    ]),
    path: text(/^\/(?!.*\/\.\.?(?:\/|$))[\w./-]{1,200}$/, 'write an absolute path on the node')
      .meta({
        ...about(
          `Folder on the node, with node-local. Without: ${DEFAULTS.cache.path}, or on the local disks where an instance type has some (/mnt/k8s-disks/0/buildkit-pool; with Bottlerocket /var/lib/kubelet/buildkit-pool).`,
        ),
      })
      .optional(),
    'storage-class': objectName(about("Of the volumes; without, the cluster's default.")),
    size: size(about('Of one volume.', DEFAULTS.cache.size), '10Gi', '64Ti', '100Gi'),
  },
  'cache',
);

const exposure = section(
  'How clients reach the load balancer.',
  {
    service: choice(
      about('Inside the cluster only, or through a load balancer of the cloud.', DEFAULTS.exposure.service),
      ['cluster', 'load-balancer'],
    ),
    annotations: annotations(about('For the cloud: on the Services that clients use.')),
    ports: choice(
      about('One outer port an architecture, or one for all, told apart by SNI.', DEFAULTS.exposure.ports),
      ['per-architecture', 'shared'],
    ),
    port: port(about('The first, or only, outer port.', DEFAULTS.exposure.port)),
    host: text(
      /^(?=.{1,253}$)(?:[a-z0-9-]|\{arch\})+(?:\.(?:[a-z0-9-]|\{arch\})+)*$/,
      'write a host name, such as {arch}.builders.example.com',
    )
      .meta({
        description: 'What clients dial, `{arch}` standing for the architecture. Needed with load-balancer.',
      })
      .optional(),
    'early-settings': port(
      about('First port of a second line for clients that know nothing of this project. Without: none.'),
    ),
    clients: section('Who may connect, for the network policies. Without: anybody.', {
      namespaces: list(
        dnsLabel("write a namespace's name"),
        about('Namespaces.'),
        'write a list of namespaces',
      ),
      cidrs: list(addressRange('10.0.0.0/8'), about('Address ranges.'), 'write a list of address ranges'),
    }).optional(),
  },
  'exposure',
);

const egress = section(
  'What builds may reach beyond the internet.',
  {
    cidrs: list(
      addressRange('10.0.12.34/32'),
      about('Ranges of the private network, such as the endpoints of a private registry.'),
      'write a list of address ranges',
    ),
  },
  'egress',
);

const mirrors = z
  .record(
    text(
      /^[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::\d{1,5})?$/,
      'write the host of a registry, such as docker.io or registry.example.com:5000',
    ),
    list(
      text(
        /^[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::\d{1,5})?(?:\/[a-z0-9._-]+)*$/,
        'write a mirror as host, port and path without https://, such as registry.example.com/docker-hub',
      ),
      about('Its mirrors, the first choice first.'),
      'write a list of mirrors, as host, port and path, the first choice first',
      1,
    ).unwrap(),
    { error: 'write a map from registries to lists of their mirrors' },
  )
  .meta({
    description: 'Where BuildKit looks for images first: from registries to lists of their mirrors.',
    examples: [{ 'docker.io': ['registry.example.com/docker-hub'] }],
  })
  .optional();

const balancer = section(
  "The load balancer's own pod.",
  {
    selector: labels(about('Labels of the nodes that it may run on.')),
    tolerations,
    'metrics-port': port(about('Its /metrics and /healthz.', DEFAULTS.balancer.metricsPort)),
  },
  'balancer',
);

const document = section(
  'The pool document server.',
  {
    port: port(about('Its HTTP port.', DEFAULTS.document.port)),
  },
  'document',
);

/** Of the day over which places are told apart, as much is left for waiting (HeadStart in haproxy/model.ts). */
const MAX_HEAD_START_MS = 12 * 3_600_000;

const priorities = list(
  section('Builds that count as having joined earlier than they did.', {
    name: dnsLabel().meta({ description: 'For people and logs.' }),
    'head-start': text(DURATION_PATTERN, 'write a duration from 1s to 12h, such as 10m')
      .refine(
        (written) =>
          (parseDuration(written) ?? 0) >= 1000 && (parseDuration(written) ?? 0) <= MAX_HEAD_START_MS,
        {
          error: 'write a duration from 1s to 12h, such as 10m',
        },
      )
      .meta({ description: 'How much earlier.', examples: ['10m'] }),
    clients: z
      .array(text(/^[\w@.+ -]{1,64}$/, 'write the common name of a client certificate'), {
        error: 'write a list of common names of client certificates',
      })
      .min(1, { error: 'write at least one common name of a client certificate' })
      .max(64, { error: 'write at most 64' })
      .meta({
        description:
          'Common names of client certificates. cert-manager makes one for each, in the Secret `<pool>-client-<name>-tls`.',
      }),
  }),
  about('Priority classes. Among the builds of one class the order of joining holds.'),
  'write a list of priority classes',
);

const image = (what: string) =>
  text(REFERENCE, 'write a full reference such as docker.io/library/haproxy:3.4@sha256:…')
    .refine((reference) => reference.includes(':') || reference.includes('@'), {
      error: 'name a version or a digest: without one it is whatever latest happens to be',
    })
    .meta({ description: `${what} Without: the one that this version was tested with.` })
    .optional();

const images = section(
  'Images other than those this version was tested with.',
  {
    buildkit: image('BuildKit.'),
    haproxy: image('HAProxy.'),
    document: image('What serves the pool document.'),
    'pull-secrets': list(
      text(SUBDOMAIN, "write a Secret's name"),
      about("Names of Secrets in the pool's namespace."),
      'write a list of Secrets',
    ),
  },
  'images',
);

const nodeSize = {
  cpu: cpu(about('Cores of one node.')),
  memory: size(about('Memory of one node.'), '512Mi', '64Ti', '384Gi'),
  disk: size(about("Disk of one node: the file system with the kubelet's folder."), '10Gi', '512Ti', '900G'),
};

const instanceType = z
  .union(
    [
      text(/^[a-z0-9-]+\.[a-z0-9-]+$/, 'write an instance type such as m6id.24xlarge'),
      section('An instance type, with what is not known of it.', {
        type: text(/^[a-z0-9-]+\.[a-z0-9-]+$/, 'write an instance type such as m6id.24xlarge').meta({
          description: 'Its name.',
        }),
        weight: integer(about('Karpenter tries the highest first. Without: by the order.'), 1, 100),
        ...nodeSize,
        'root-volume': size(
          about('Size of the root volume, where caches live if the type has no local disks.'),
          '20Gi',
          '64Ti',
          '500Gi',
        ),
        'max-pods': integer(about('Pods that its network interfaces allow.'), 4, 1000),
        price: z
          .number({ error: 'write the price of one node an hour' })
          .min(0, { error: 'write the price of one node an hour' })
          .max(10_000, { error: 'write the price of one node an hour' })
          .meta({ description: 'Of one node an hour, for the explanation only.' })
          .optional(),
      }),
    ],
    { error: 'write an instance type such as m6id.24xlarge, or a map with type' },
  )
  .meta({ description: 'An instance type.' });

const nodes = section('Where builders run. Without: anywhere.', {
  'instance-types': list(
    instanceType,
    about('Karpenter starts these, preferred first.'),
    'write a list of at least one instance type',
    1,
  ),
  capacity: choice(about('Only with instance types.', DEFAULTS.nodes.capacity), ['on-demand', 'spot']),
  'accept-lost-builds': flag(
    about('That spot nodes, which give two minutes of notice, kill longer builds is accepted.', false),
  ),
  reserve: section('What DaemonSets take of every node whose size is known.', {
    cpu: cpu(about('Cores.', DEFAULTS.nodes.reserve.cpu)),
    memory: size(about('Memory.', DEFAULTS.nodes.reserve.memory), '1Mi', '1Ti', '1Gi'),
  }).optional(),
  zones: list(
    text(/^[a-z0-9-]{1,40}$/, 'write a zone such as us-east-1a'),
    about('Zones. Only with instance types.'),
    'write a list of zones',
  ),
  selector: labels(about('Labels of the nodes, where they exist already.')),
  tolerations,
  size: section('What one of these nodes has; sizes of builders follow from it. Only with a selector.', {
    ...nodeSize,
  }).optional(),
});

const architecture = section(
  'One architecture: its line and its builders.',
  {
    min: integer(about('Builders there always are.', DEFAULTS.architecture.min), 0, 1000),
    max: integer(about('Builders there are at most.', DEFAULTS.architecture.max), 1, 1000),
    replicas: integer(about('How many builders there are. Only with `autoscaling: off`.'), 0, 1000),
    spare: integer(
      about('Idle builders kept beyond what is needed, up to max.', DEFAULTS.architecture.spare),
      0,
      1000,
    ),
    fallback: integer(about('Builders while the length of the line cannot be read. Without: min.'), 1, 1000),
    ceiling: integer(
      about(
        'Builders that the load balancer knows; max can grow to it without replacing it. Without: derived.',
      ),
      1,
      2048,
    ),
    builds: builds.optional(),
    'builders-per-node': integer(
      about('How many builders share one node of the preferred type.', DEFAULTS.architecture.buildersPerNode),
      1,
      64,
    ),
    builder: section('What one builder gets. Without: its part of the node.', {
      cpu: cpu(about('Cores.')),
      memory: size(about('Memory.'), '512Mi', '64Ti', '16Gi'),
      disk: size(about('Cache and scratch, with node-local caches.'), '5Gi', '64Ti', '100Gi'),
    }).optional(),
    nodes: nodes.optional(),
  },
  'architecture',
);

const shared = {
  autoscaling: choice(
    about('KEDA, or a fixed number of builders and no KEDA object.', DEFAULTS.pool.autoscaling),
    ['keda', 'off'],
  ),
  monitoring: choice(about('Objects of the Prometheus operator, or none.', DEFAULTS.pool.monitoring), [
    'prometheus-operator',
    'none',
  ]),
  profile: choice(about('How BuildKit runs.', DEFAULTS.pool.profile), ['privileged', 'rootless']),
  builds: builds.optional(),
  'scale-down': scaleDown.optional(),
  tls: tls.optional(),
  cache: cache.optional(),
  exposure: exposure.optional(),
  egress: egress.optional(),
  balancer: balancer.optional(),
  document: document.optional(),
  priorities,
  images: images.optional(),
  mirrors,
};

const pool = section('One pool: a load balancer, a line and builders an architecture.', {
  namespace: namespaceName(about("The pool's namespace. Without: its name.")),
  ...shared,
  architectures: section('Its architectures, at least one.', {
    amd64: architecture.optional(),
    arm64: architecture.optional(),
    ppc64le: architecture.optional(),
    riscv64: architecture.optional(),
    s390x: architecture.optional(),
  }),
});

/** The whole file. Every map refuses keys it does not know. */
export const poolFileSchema = z
  .strictObject(
    {
      version: z.literal(1, { error: 'write version: 1' }).meta({ description: 'Version of this format.' }),
      cluster: cluster.optional(),
      defaults: section('What all pools share; a pool lays its own sections over it, key by key.', {
        ...shared,
      }).optional(),
      pools: z
        .record(
          text(LABEL, 'name the pool by a DNS label: lower-case letters, digits and dashes, a letter first'),
          pool,
          { error: 'write a map of at least one pool: its name, and below it its architectures' },
        )
        .refine((pools) => Object.keys(pools).length > 0, {
          error: 'write a map of at least one pool: its name, and below it its architectures',
        })
        .meta({ description: 'The pools by name.', minProperties: 1 }),
    },
    { error: 'write a map with version and pools' },
  )
  .meta({ title: 'pool.yaml', description: 'A buildkit-pool: what a person decides.' });

export type WrittenFile = z.infer<typeof poolFileSchema>;
export type WrittenPool = WrittenFile['pools'][string];
export type WrittenDefaults = NonNullable<WrittenFile['defaults']>;
export type WrittenArchitecture = NonNullable<WrittenPool['architectures']['amd64']>;
export type WrittenNodes = NonNullable<WrittenArchitecture['nodes']>;
export type WrittenInstanceType = NonNullable<WrittenNodes['instance-types']>[number];

/** The published JSON Schema (draft 7, which editors know best), as an object. */
export function jsonSchema(): unknown {
  return {
    $id: SCHEMA_ID,
    ...z.toJSONSchema(poolFileSchema, { target: 'draft-7', io: 'input', reused: 'inline' }),
  };
}

/** The file as it is published. */
export function formatSchema(): string {
  return `${JSON.stringify(jsonSchema(), null, 2)}\n`;
}
