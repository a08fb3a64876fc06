/**
 * What schemas do not see: limits that the API server checks by code, rules that Karpenter checks by CEL, and whether the
 * objects fit together. Pure. Rendering finds no fault, or it is a mistake of ours.
 */
import { BlockList, isIP } from 'node:net';
import type { KubernetesObject } from '../components/object.ts';
import { MAX_PERIOD_SECONDS } from '../sizing/autoscaler.ts';

/** One line: the object, and what is wrong with it. */
export type Fault = string;

export interface InspectOptions {
  /** Names of Secrets that come from elsewhere. */
  readonly foreignSecrets: readonly string[];
}

export function inspect(objects: readonly KubernetesObject[], options: InspectOptions): readonly Fault[] {
  const world: World = { objects: objects.map(toTree), foreignSecrets: options.foreignSecrets };
  return world.objects.flatMap((object) => {
    const { kind, name, namespace } = identity(object);
    const faults = [...inspectNames(object), ...(INSPECTIONS[kind]?.(object, world) ?? [])];
    return faults.map((fault) => `${kind} ${namespace === '' ? '' : `${namespace}/`}${name}: ${fault}`);
  });
}

/** Any part of an object, as read: nothing is known of it. */
type Tree = { readonly [key: string]: unknown };

interface World {
  readonly objects: readonly Tree[];
  readonly foreignSecrets: readonly string[];
}

type Inspection = (object: Tree, world: World) => readonly Fault[];

const INSPECTIONS: Readonly<Record<string, Inspection>> = {
  StatefulSet: (object, world) => [...inspectStatefulSet(object, world), ...inspectWorkload(object, world)],
  Deployment: inspectWorkload,
  Service: inspectService,
  PodDisruptionBudget: inspectBudget,
  ConfigMap: inspectConfigMap,
  ScaledObject: inspectScaledObject,
  NodePool: inspectNodePool,
  Certificate: inspectCertificate,
  ServiceMonitor: inspectServiceMonitor,
  NetworkPolicy: inspectNetworkPolicy,
};

function toTree(object: KubernetesObject): Tree {
  return JSON.parse(JSON.stringify(object)) as Tree;
}

function tree(value: unknown): Tree {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Tree) : {};
}

function list(value: unknown): readonly Tree[] {
  return Array.isArray(value) ? value.map(tree) : [];
}

function at(object: Tree, ...path: readonly string[]): unknown {
  return path.reduce<unknown>((value, key) => tree(value)[key], object);
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

function number(value: unknown): number {
  return typeof value === 'number' ? value : Number.NaN;
}

function identity(object: Tree) {
  return {
    kind: text(object['kind']),
    name: text(at(object, 'metadata', 'name')),
    namespace: text(at(object, 'metadata', 'namespace')),
  };
}

function find(world: World, kind: string, namespace: string, name: string): Tree | undefined {
  return world.objects.find((object) => {
    const found = identity(object);
    return found.kind === kind && found.namespace === namespace && found.name === name;
  });
}

function check(faults: Readonly<Record<string, boolean>>): readonly Fault[] {
  return Object.entries(faults)
    .filter(([, holds]) => !holds)
    .map(([fault]) => fault);
}

const LABEL = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/;
const SUBDOMAIN = /^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/;
const LABEL_VALUE = /^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$/;
const CLUSTER_WIDE = ['Namespace', 'NodePool', 'EC2NodeClass'];
/** Names that become DNS names or values of labels. */
const LABEL_NAMED = ['Service', 'Namespace', 'StatefulSet', 'Deployment', 'NodePool', 'EC2NodeClass'];

function inspectNames(object: Tree): readonly Fault[] {
  const { kind, name, namespace } = identity(object);
  const labels = Object.entries(tree(at(object, 'metadata', 'labels')));
  return [
    ...check({
      [`its name \`${name}\` is no DNS ${LABEL_NAMED.includes(kind) ? 'label' : 'subdomain'}`]:
        (LABEL_NAMED.includes(kind) ? LABEL : SUBDOMAIN).test(name),
      'it must have a namespace, or none': CLUSTER_WIDE.includes(kind) === (namespace === ''),
    }),
    ...labels
      .filter(([, value]) => !LABEL_VALUE.test(String(value)))
      .map(([key, value]) => `the label ${key} cannot have the value \`${String(value)}\``),
  ];
}

/** The revision label adds a dash and ten characters to the name. */
const MAX_STATEFUL_SET_NAME = 52;

function inspectStatefulSet(object: Tree, world: World): readonly Fault[] {
  const { name, namespace } = identity(object);
  const serviceName = text(at(object, 'spec', 'serviceName'));
  const service = find(world, 'Service', namespace, serviceName);
  const scaled = world.objects.some(
    (other) =>
      identity(other).kind === 'ScaledObject' &&
      identity(other).namespace === namespace &&
      at(other, 'spec', 'scaleTargetRef', 'name') === name,
  );
  const replicas = at(object, 'spec', 'replicas');
  return check({
    [`its name is longer than ${MAX_STATEFUL_SET_NAME} characters`]: name.length <= MAX_STATEFUL_SET_NAME,
    [`its Service ${serviceName} is not there, or has an address`]:
      service !== undefined && at(service, 'spec', 'clusterIP') === 'None',
    'it names replicas although it is scaled: every apply would reset the pool':
      !scaled || replicas === undefined,
    'it is not scaled and names no replicas': scaled || replicas !== undefined,
    'it must start all ordinals at once': at(object, 'spec', 'podManagementPolicy') === 'Parallel',
    'it must leave running builders alone': at(object, 'spec', 'updateStrategy', 'type') === 'OnDelete',
  });
}

function inspectWorkload(object: Tree, world: World): readonly Fault[] {
  const { namespace } = identity(object);
  const template = tree(at(object, 'spec', 'template'));
  const pod = tree(template['spec']);
  const containers = [...list(pod['initContainers']), ...list(pod['containers'])];
  const account = text(pod['serviceAccountName']);
  const claims = list(at(object, 'spec', 'volumeClaimTemplates')).map((claim) => identity(claim).name);
  const volumes = list(pod['volumes']);
  const known = new Set([...volumes.map((volume) => text(volume['name'])), ...claims]);
  const selector = tree(at(object, 'spec', 'selector', 'matchLabels'));
  return [
    ...check({
      'its selector does not select its own pods': selects(
        selector,
        tree(at(template, 'metadata', 'labels')),
      ),
      'its pods mount a token of Kubernetes': pod['automountServiceAccountToken'] === false,
      [`its ServiceAccount \`${account}\` is not there`]:
        find(world, 'ServiceAccount', namespace, account) !== undefined,
      'two containers have one name': unique(containers.map((container) => text(container['name']))),
      'two ports of its pods have one name': unique(namedPorts(containers).map(([name]) => name)),
      'its pods have no time to end in': number(pod['terminationGracePeriodSeconds']) > 0,
      // What the kubelet makes itself (ConfigMaps, Secrets, folders) is small, and what is the node's it leaves alone.
      'at every start the kubelet would change the group of every file in its volumes':
        claims.length === 0 ||
        at(pod, 'securityContext', 'fsGroup') === undefined ||
        at(pod, 'securityContext', 'fsGroupChangePolicy') === 'OnRootMismatch',
    }),
    ...volumes.flatMap((volume) => inspectVolume(volume, namespace, world)),
    ...containers.flatMap((container) => inspectContainer(container, known, containers)),
  ];
}

function inspectVolume(volume: Tree, namespace: string, world: World): readonly Fault[] {
  const configMap = text(at(volume, 'configMap', 'name'));
  const secret = text(at(volume, 'secret', 'secretName'));
  return check({
    [`the ConfigMap \`${configMap}\` is not there`]:
      configMap === '' || find(world, 'ConfigMap', namespace, configMap) !== undefined,
    [`nobody makes the Secret \`${secret}\``]:
      secret === '' ||
      world.foreignSecrets.includes(secret) ||
      secretsMade(world, namespace).includes(secret),
  });
}

function secretsMade(world: World, namespace: string): readonly string[] {
  return world.objects
    .filter((object) => identity(object).kind === 'Certificate' && identity(object).namespace === namespace)
    .map((object) => text(at(object, 'spec', 'secretName')));
}

function inspectContainer(
  container: Tree,
  volumes: ReadonlySet<string>,
  all: readonly Tree[],
): readonly Fault[] {
  const name = text(container['name']);
  const ports = new Map(namedPorts(all));
  const mounts = list(container['volumeMounts']);
  const probes = ['startupProbe', 'readinessProbe', 'livenessProbe'].map((key) => tree(container[key]));
  const image = text(container['image']);
  return [
    ...mounts
      .map((mount) => text(mount['name']))
      .filter((mount) => !volumes.has(mount))
      .map((mount) => `${name} mounts \`${mount}\`, which is no volume`),
    ...probes
      .map((probe) => at(probe, 'httpGet', 'port'))
      .filter((port) => typeof port === 'string' && !ports.has(port))
      .map((port) => `a probe of ${name} asks the port \`${String(port)}\`, which has no name`),
    ...check({
      [`two volumes of ${name} are mounted at one path`]: unique(
        mounts.map((mount) => text(mount['mountPath'])),
      ),
      [`${name} runs \`${image}\`, whatever that is today`]: /:(?!latest(@|$))[\w][\w.-]*(@|$)|@sha256:/.test(
        image,
      ),
      [`${name} has no limit of memory`]:
        text(at(container, 'resources', 'limits', 'memory')) !== '' || isInit(container),
    }),
  ];
}

/** What ends before the pod begins needs no limit. */
function isInit(container: Tree): boolean {
  return container['readinessProbe'] === undefined && container['ports'] === undefined;
}

function namedPorts(containers: readonly Tree[]): readonly (readonly [string, number])[] {
  return containers.flatMap((container) =>
    list(container['ports']).flatMap((port) =>
      text(port['name']) === '' ? [] : [[text(port['name']), number(port['containerPort'])] as const],
    ),
  );
}

function workloads(world: World, namespace: string): readonly Tree[] {
  return world.objects.filter(
    (object) =>
      ['Deployment', 'StatefulSet'].includes(identity(object).kind) &&
      identity(object).namespace === namespace,
  );
}

function selectedBy(selector: Tree, world: World, namespace: string): readonly Tree[] {
  return workloads(world, namespace).filter((workload) =>
    selects(selector, tree(at(workload, 'spec', 'template', 'metadata', 'labels'))),
  );
}

function selects(selector: Tree, labels: Tree): boolean {
  const wanted = Object.entries(selector);
  return wanted.length > 0 && wanted.every(([key, value]) => labels[key] === value);
}

function inspectService(object: Tree, world: World): readonly Fault[] {
  const { namespace } = identity(object);
  const selected = selectedBy(tree(at(object, 'spec', 'selector')), world, namespace);
  const ports = list(at(object, 'spec', 'ports'));
  const containers = selected.flatMap((workload) =>
    list(at(workload, 'spec', 'template', 'spec', 'containers')),
  );
  const open = new Set<unknown>([
    ...namedPorts(containers).map(([name]) => name),
    ...containers.flatMap((container) => list(container['ports']).map((port) => port['containerPort'])),
  ]);
  return [
    ...check({
      'it leads to no pods, or to those of several workloads': selected.length === 1,
      'two of its ports have one name': unique(ports.map((port) => text(port['name']))),
      'two of its ports have one number': unique(ports.map((port) => String(port['port']))),
    }),
    ...ports
      .map((port) => port['targetPort'] ?? port['port'])
      .filter((port) => !open.has(port))
      .map((port) => `its pods do not listen on ${String(port)}`),
  ];
}

function inspectBudget(object: Tree, world: World): readonly Fault[] {
  const selector = tree(at(object, 'spec', 'selector', 'matchLabels'));
  return check({
    'it guards no pods, or those of several workloads':
      selectedBy(selector, world, identity(object).namespace).length === 1,
  });
}

/** What etcd and the API server take: 1 MiB with everything around it. */
const MAX_CONFIG_MAP_BYTES = 1_000_000;

function inspectConfigMap(object: Tree): readonly Fault[] {
  const bytes = Buffer.byteLength(JSON.stringify(object['data'] ?? {}));
  return check({
    [`it has ${bytes} bytes, more than Kubernetes takes (${MAX_CONFIG_MAP_BYTES})`]:
      bytes <= MAX_CONFIG_MAP_BYTES,
  });
}

/** pkg/apis/autoscaling/validation of Kubernetes 1.36: MaxStabilizationWindowSeconds. */
const MAX_STABILIZATION_SECONDS = 3600;

function inspectScaledObject(object: Tree, world: World): readonly Fault[] {
  const { namespace, name } = identity(object);
  const spec = tree(object['spec']);
  const [min, max] = [number(spec['minReplicaCount']), number(spec['maxReplicaCount'])];
  const target = text(at(spec, 'scaleTargetRef', 'name'));
  const modifiers = at(spec, 'advanced', 'scalingModifiers');
  const behavior = tree(at(spec, 'advanced', 'horizontalPodAutoscalerConfig', 'behavior'));
  return [
    ...check({
      [`what it scales, ${target}, is not there`]:
        find(world, 'StatefulSet', namespace, target) !== undefined,
      [`min ${min} is more than max ${max}`]: min >= 0 && min <= max && max >= 1,
      'its HPA would have a name of more than 63 characters': `keda-hpa-${name}`.length <= 63,
      'its fallback may shrink a busy pool': at(spec, 'fallback', 'behavior') === 'currentReplicasIfHigher',
      'its fallback is more than max': number(at(spec, 'fallback', 'replicas')) <= max,
      'its fallback is silently off: with scalingModifiers the target must be a whole number':
        modifiers === undefined || /^[1-9]\d*$/.test(text(at(tree(modifiers), 'target'))),
      'deleting it would reset the pool': at(spec, 'advanced', 'restoreToOriginalReplicaCount') === false,
    }),
    ...['scaleUp', 'scaleDown'].flatMap((direction) => inspectRules(direction, tree(behavior[direction]))),
    ...list(spec['triggers']).flatMap((trigger) => inspectTrigger(trigger, world)),
  ];
}

function inspectRules(direction: string, rules: Tree): readonly Fault[] {
  const window = number(rules['stabilizationWindowSeconds']);
  return [
    ...check({
      [`${direction}: a window of ${window} s; Kubernetes takes 0 to ${MAX_STABILIZATION_SECONDS}`]:
        window >= 0 && window <= MAX_STABILIZATION_SECONDS,
    }),
    ...list(rules['policies']).flatMap((policy) => {
      const period = number(policy['periodSeconds']);
      return check({
        [`${direction}: a period of ${period} s; Kubernetes takes 1 to ${MAX_PERIOD_SECONDS}`]:
          period >= 1 && period <= MAX_PERIOD_SECONDS,
        [`${direction}: a policy that allows nothing`]: number(policy['value']) > 0,
        [`${direction}: the window is shorter than the period, so that one dip takes many`]:
          direction === 'scaleUp' || window >= period,
      });
    }),
  ];
}

/** The Service that the URL names must be there, with that port. */
function inspectTrigger(trigger: Tree, world: World): readonly Fault[] {
  const url = text(at(trigger, 'metadata', 'url'));
  const parsed = URL.canParse(url) ? new URL(url) : null;
  const [service = '', namespace = ''] = parsed?.hostname.split('.') ?? [];
  const found = find(world, 'Service', namespace, service);
  const ports = found === undefined ? [] : list(at(found, 'spec', 'ports'));
  return check({
    [`nothing answers at ${url}`]: ports.some((port) => String(port['port']) === parsed?.port),
  });
}

function inspectNodePool(object: Tree, world: World): readonly Fault[] {
  const spec = tree(object['spec']);
  const template = tree(spec['template']);
  const nodeClass = text(at(template, 'spec', 'nodeClassRef', 'name'));
  const weight = number(spec['weight']);
  const labels = tree(at(template, 'metadata', 'labels'));
  const keys = [
    ...Object.keys(labels),
    ...list(at(template, 'spec', 'requirements')).map((requirement) => text(requirement['key'])),
  ];
  return [
    ...check({
      [`its EC2NodeClass ${nodeClass} is not there`]:
        find(world, 'EC2NodeClass', '', nodeClass) !== undefined,
      [`its weight is ${weight}; Karpenter takes 1 to 100`]: weight >= 1 && weight <= 100,
      'its nodes expire, which ignores every budget': at(template, 'spec', 'expireAfter') === 'Never',
      'its nodes end builders before their own grace period is over':
        at(template, 'spec', 'terminationGracePeriod') === undefined,
      'its nodes go while builders run on them':
        at(spec, 'disruption', 'consolidationPolicy') === 'WhenEmpty',
      'a budget needs schedule and duration, or neither': list(at(spec, 'disruption', 'budgets')).every(
        (budget) => (budget['schedule'] === undefined) === (budget['duration'] === undefined),
      ),
      'drift is allowed in working hours': list(at(spec, 'disruption', 'budgets')).some(
        (budget) => budget['nodes'] === '0' && text(budget['schedule']) !== '' && concerns(budget, 'Drifted'),
      ),
      'no builders would run on its nodes': world.objects.some(
        (other) =>
          identity(other).kind === 'StatefulSet' &&
          Object.entries(labels).every(
            ([key, value]) => at(other, 'spec', 'template', 'spec', 'nodeSelector', key) === value,
          ),
      ),
    }),
    ...keys
      .filter((key) => key === 'karpenter.sh/nodepool' || key === 'kubernetes.io/hostname')
      .map((key) => `Karpenter keeps the label ${key} to itself`),
  ];
}

/** A budget without reasons is for all of them. */
function concerns(budget: Tree, reason: string): boolean {
  const reasons = budget['reasons'];
  return !Array.isArray(reasons) || reasons.includes(reason);
}

function inspectCertificate(object: Tree, world: World): readonly Fault[] {
  const { namespace } = identity(object);
  const spec = tree(object['spec']);
  const issuer = text(at(spec, 'issuerRef', 'name'));
  const made = secretsMade(world, namespace).filter((secret) => secret === spec['secretName']);
  return check({
    [`its issuer ${issuer} is not there`]:
      at(spec, 'issuerRef', 'kind') !== 'Issuer' ||
      find(world, 'Issuer', namespace, issuer) !== undefined ||
      // An issuer that somebody else has made signs every certificate of the pool.
      !world.objects.some(
        (other) => identity(other).kind === 'Issuer' && identity(other).namespace === namespace,
      ),
    'two certificates write one Secret': made.length === 1,
    'it would be renewed before it is issued':
      Number.parseInt(text(spec['renewBefore']), 10) < Number.parseInt(text(spec['duration']), 10),
  });
}

function inspectServiceMonitor(object: Tree, world: World): readonly Fault[] {
  const selector = tree(at(object, 'spec', 'selector', 'matchLabels'));
  const services = world.objects.filter(
    (other) =>
      identity(other).kind === 'Service' &&
      identity(other).namespace === identity(object).namespace &&
      selects(selector, tree(at(other, 'metadata', 'labels'))),
  );
  return list(at(object, 'spec', 'endpoints'))
    .map((endpoint) => text(endpoint['port']))
    .filter(
      (port) =>
        services.filter((service) => list(at(service, 'spec', 'ports')).some((one) => one['name'] === port))
          .length !== 1,
    )
    .map((port) => `the port ${port} is not that of exactly one Service`);
}

/** ValidateIPBlock in pkg/apis/networking/validation: Go takes an IPv4 address in IPv6 dress for an IPv4 one. */
function inspectNetworkPolicy(object: Tree): readonly Fault[] {
  const rules = [...list(at(object, 'spec', 'ingress')), ...list(at(object, 'spec', 'egress'))];
  const blocks = rules
    .flatMap((rule) => [...list(rule['from']), ...list(rule['to'])])
    .map((peer) => tree(peer['ipBlock']))
    .filter((block) => block['cidr'] !== undefined);
  return blocks.flatMap((block) => {
    const outer = readRange(text(block['cidr']));
    const exceptions = Array.isArray(block['except']) ? block['except'].map(String) : [];
    return exceptions
      .filter((exception) => {
        const inner = readRange(exception);
        return (
          outer === null ||
          inner === null ||
          inner.version !== outer.version ||
          inner.bits <= outer.bits ||
          !outer.contains(inner.address)
        );
      })
      .map((exception) => `${exception} is no part of ${text(block['cidr'])}`);
  });
}

function readRange(cidr: string) {
  const [address = '', bits = ''] = cidr.split('/');
  const mapped = address.toLowerCase().startsWith('::ffff:');
  const version = mapped ? 4 : isIP(address);
  if (version === 0) {
    return null;
  }
  const family = version === 4 ? 'ipv4' : 'ipv6';
  const range = new BlockList();
  if (!mapped) range.addSubnet(address, Number(bits), family);
  return { address, bits: Number(bits), version, contains: (one: string) => range.check(one, family) };
}

function unique(values: readonly string[]): boolean {
  const named = values.filter((value) => value !== '');
  return new Set(named).size === named.length;
}
