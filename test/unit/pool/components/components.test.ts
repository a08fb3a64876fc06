import { readFileSync } from 'node:fs';
import { parse as parseToml } from 'smol-toml';
import { describe, expect, test } from 'vitest';
import { composePool } from '../../../../src/pool/render/render.ts';
import { composeText, EXAMPLES, exampleNamed, pick, sizeText, type Tree } from '../../../support/examples.ts';
import { accept } from '../../../support/pool-yaml.ts';

const all = EXAMPLES.map(({ name, poolYaml }) => ({
  name,
  sizing: sizeText(poolYaml),
  objects: composeText(poolYaml),
}));

function ofKind(objects: ReturnType<typeof composeText>, kind: string): readonly Tree[] {
  return objects.filter((object) => object.kind === kind);
}

function written(pools: string): ReturnType<typeof composeText> {
  return composeText(
    `version: 1\ncluster: {karpenter: {discovery: ci, role: nodes}}\npools:\n  default:\n${pools}`,
  );
}

describe.each(all)('$name', ({ sizing, objects }) => {
  test('every architecture has one StatefulSet that scales up at once and never rolls by itself', () => {
    const architectures = sizing.pools.flatMap((pool) => pool.architectures);
    const sets = ofKind(objects, 'StatefulSet');
    expect(sets).toHaveLength(architectures.length);
    for (const { names, replicas, drain } of architectures) {
      const { spec } = pick(objects, 'StatefulSet', names.statefulSet);
      expect(spec.podManagementPolicy).toBe('Parallel');
      expect(spec.updateStrategy).toEqual({ type: 'OnDelete' });
      expect(spec.replicas).toBe(replicas?.value);
      expect(spec.template.spec.terminationGracePeriodSeconds).toBe(drain.graceSeconds.value);
      expect(spec.template.spec.containers[0].lifecycle.preStop.exec.command.at(-1)).toMatch(/drain\.sh$/);
    }
  });

  test('incident 1: the load balancer has a line for every builder there can be, by its own name', () => {
    for (const pool of sizing.pools) {
      const configuration: string = pick(objects, 'ConfigMap', pool.names.balancer).data['haproxy.cfg'];
      for (const { architecture, names, line } of pool.architectures) {
        const hosts = [...configuration.matchAll(/^ {2}server b\d+ (\S+):\d+/gm)]
          .map(([, host]) => host)
          .filter((host) => host?.includes(`.${names.headlessService}.`));
        expect(hosts).toHaveLength(line.ceiling.value);
        expect(hosts.length).toBeGreaterThanOrEqual(architecture.replicas ?? architecture.max);
        const [first] = hosts;
        expect(first).toBe(
          `${names.statefulSet}-0.${names.headlessService}.${pool.names.namespace}.svc.cluster.local`,
        );
        expect(pick(objects, 'StatefulSet', names.statefulSet).spec.serviceName).toBe(names.headlessService);
      }
    }
  });

  test('no pod has a token, and all but BuildKit keep to the restricted pod security standard', () => {
    for (const workload of [...ofKind(objects, 'StatefulSet'), ...ofKind(objects, 'Deployment')]) {
      const pod = workload.spec.template.spec;
      expect(pod.automountServiceAccountToken).toBe(false);
      expect(pick(objects, 'ServiceAccount', pod.serviceAccountName).automountServiceAccountToken).toBe(
        false,
      );
      expect([pod.hostNetwork, pod.hostPID, pod.hostIPC]).toEqual([undefined, undefined, undefined]);
      for (const container of pod.containers) {
        if (container.name !== 'buildkitd') {
          expect(unrestricted(pod, container)).toEqual([]);
        }
      }
    }
    expect(ofKind(objects, 'Role')).toEqual([]);
    expect(ofKind(objects, 'RoleBinding')).toEqual([]);
  });

  test('incident 8: nothing deletes builders, and evictions are counted', () => {
    expect(objects.map(({ kind }) => kind).filter((kind) => /Job|Role/.test(kind))).toEqual([]);
    const scripts = ofKind(objects, 'ConfigMap').flatMap(({ data }) => Object.values<string>(data));
    expect(scripts.filter((text) => /kubectl|delete pod/.test(text))).toEqual([]);
    const guarded = ofKind(objects, 'PodDisruptionBudget').map(({ spec }) =>
      JSON.stringify(spec.selector.matchLabels),
    );
    for (const workload of [...ofKind(objects, 'StatefulSet'), ...ofKind(objects, 'Deployment')]) {
      expect(guarded).toContain(JSON.stringify(workload.spec.selector.matchLabels));
    }
  });

  test('the load balancer is one, is not disrupted, and stands off the builders\u2019 nodes', () => {
    for (const { names } of sizing.pools) {
      const { spec } = pick(objects, 'Deployment', names.balancer);
      expect(spec.replicas).toBe(1);
      expect(spec.strategy.rollingUpdate).toEqual({ maxSurge: 1, maxUnavailable: 0 });
      expect(spec.template.metadata.annotations['karpenter.sh/do-not-disrupt']).toBe('true');
      expect(pick(objects, 'PodDisruptionBudget', names.balancer).spec.maxUnavailable).toBe(0);
      const terms =
        spec.template.spec.affinity.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution
          .nodeSelectorTerms;
      for (const set of ofKind(objects, 'StatefulSet')) {
        const { 'kubernetes.io/arch': _arch, ...node } = set.spec.template.spec.nodeSelector;
        const builderNode = Object.keys(node).length > 0;
        expect(terms?.some((term: Tree) => matches(term, node)) ?? !builderNode).toBe(!builderNode);
      }
    }
  });

  test('the scaler reads the session count of the line\u2019s own frontend, and builders that are taken by another load balancer', () => {
    const scaled = sizing.pools.flatMap((pool) => pool.architectures.map((arch) => ({ pool, arch })));
    for (const { pool, arch } of scaled) {
      if (arch.autoscaler === null) {
        expect(ofKind(objects, 'ScaledObject')).toEqual([]);
        continue;
      }
      const { spec } = pick(objects, 'ScaledObject', arch.names.scaledObject);
      const metrics = `http://${pool.names.balancer}.${pool.names.namespace}.svc.cluster.local:8405/metrics`;
      expect(spec.triggers.map(({ name, metadata }: Tree) => [name, metadata])).toEqual([
        [
          'demand',
          expect.objectContaining({
            url: `${metrics}?scope=frontend`,
            format: 'prometheus',
            valueLocation: `haproxy_frontend_current_sessions{proxy="${arch.name}"}`,
          }),
        ],
        [
          'elsewhere',
          expect.objectContaining({
            url: `${metrics}?scope=backend`,
            format: 'prometheus',
            valueLocation: `haproxy_backend_agg_check_status{proxy="builders_${arch.name}",state="L7STS"}`,
          }),
        ],
      ]);
      expect(spec.advanced.scalingModifiers).toMatchObject({
        formula: expect.stringContaining('demand + elsewhere'),
        target: '1',
        activationTarget: '0',
      });
      const configuration: string = pick(objects, 'ConfigMap', pool.names.balancer).data['haproxy.cfg'];
      expect(configuration).toContain(`\nfrontend ${arch.name}\n`);
      expect(configuration).toContain(`\nbackend builders_${arch.name}\n`);
      expect(spec.fallback.behavior).toBe('currentReplicasIfHigher');
      expect([spec.minReplicaCount, spec.maxReplicaCount]).toEqual([
        arch.autoscaler.minReplicas.value,
        arch.autoscaler.maxReplicas.value,
      ]);
    }
  });
});

/** What the restricted standard asks of a container and is not there. */
function unrestricted(pod: Tree, container: Tree): readonly string[] {
  const own = { ...pod.securityContext, ...container.securityContext };
  return Object.entries({
    runAsNonRoot: own.runAsNonRoot === true,
    runAsUser: own.runAsUser > 0,
    allowPrivilegeEscalation: own.allowPrivilegeEscalation === false,
    capabilities: JSON.stringify(own.capabilities) === JSON.stringify({ drop: ['ALL'] }),
    seccompProfile: own.seccompProfile?.type === 'RuntimeDefault',
    privileged: own.privileged !== true,
  })
    .filter(([, holds]) => !holds)
    .map(([name]) => name);
}

/** Whether a node with these labels satisfies a node selector term. */
function matches({ matchExpressions }: Tree, labels: Readonly<Record<string, string>>): boolean {
  return matchExpressions.every(({ key, operator, values }: Tree) =>
    operator === 'NotIn' ? !values.includes(labels[key]) : labels[key] === undefined,
  );
}

test('incident 3: builders may start on several instance types, each preferred by weight', () => {
  const { objects } = all.find(({ name }) => name === 'eks-production') ?? { objects: [] };
  for (const arch of ['amd64', 'arm64']) {
    const pools = ofKind(objects, 'NodePool').filter(({ metadata }) =>
      metadata.name.startsWith(`default-${arch}-`),
    );
    const types = pools.map(
      ({ spec }) =>
        spec.template.spec.requirements.find(({ key }: Tree) => key === 'node.kubernetes.io/instance-type')
          .values,
    );
    expect(types.length).toBeGreaterThanOrEqual(3);
    expect(types.every((values) => values.length === 1)).toBe(true);
    const weights = pools.map(({ spec }) => spec.weight);
    expect(weights).toEqual({ amd64: [100, 75, 50, 25], arm64: [100, 66, 33] }[arch]);
    for (const { spec } of pools) {
      expect(spec.disruption).toEqual({
        consolidationPolicy: 'WhenEmpty',
        consolidateAfter: '300s',
        budgets: [
          { nodes: '100%', reasons: ['Empty'] },
          { nodes: '10%', reasons: ['Drifted'] },
          { nodes: '0', reasons: ['Drifted'], schedule: '0 6 * * mon-fri', duration: '840m' },
          { nodes: '0', reasons: ['Underutilized'] },
        ],
      });
      expect(spec.template.spec.expireAfter).toBe('Never');
      expect(spec.template.spec).not.toHaveProperty('terminationGracePeriod');
      const builders = pick(objects, 'StatefulSet', `default-${arch}-builder`).spec.template.spec;
      expect(builders.tolerations).toContainEqual({ ...spec.template.spec.taints[0], operator: 'Equal' });
      expect(builders.nodeSelector).toMatchObject(spec.template.metadata.labels);
    }
  }
});

test('caches of several instance types lie on the disks that the types bring', () => {
  const { sizing, objects } = all.find(({ name }) => name === 'eks-karpenter') ?? {
    sizing: null,
    objects: [],
  };
  expect(pick(objects, 'EC2NodeClass', 'default-amd64').spec.instanceStorePolicy).toBe('RAID0');
  expect(sizing?.pools[0]?.pool.cache).toMatchObject({
    path: expect.stringMatching(/^\/mnt\/k8s-disks\/0\//),
  });
});

test('two trust levels share no namespace, certificate, node or load balancer', () => {
  const { objects } = all.find(({ name }) => name === 'two-trust-levels') ?? { objects: [] };
  const [trusted, forks] = ['trusted', 'forks'].map((name) => {
    const own = objects.filter(({ metadata }) => metadata?.labels?.['app.kubernetes.io/instance'] === name);
    return {
      namespaces: new Set(own.map(({ metadata }) => metadata?.namespace).filter((one) => one !== undefined)),
      issuers: new Set(
        ofKind(own, 'Certificate').map(
          ({ metadata, spec }) => `${metadata.namespace} ${spec.issuerRef.name}`,
        ),
      ),
      nodes: new Set(
        ofKind(own, 'StatefulSet').map(
          ({ spec }) => spec.template.spec.nodeSelector['buildkit-pool/builder'],
        ),
      ),
      balancers: new Set(ofKind(own, 'Deployment').map(({ metadata }) => metadata.name)),
    };
  });
  for (const key of ['namespaces', 'issuers', 'nodes', 'balancers'] as const) {
    expect(trusted?.[key].size).toBeGreaterThan(0);
    expect([...(trusted?.[key] ?? [])].filter((one) => forks?.[key].has(one))).toEqual([]);
  }
});

test('a runner\u2019s certificate opens the load balancer and never a builder', () => {
  const { objects } = all.find(({ name }) => name === 'eks-karpenter') ?? { objects: [] };
  const issuerOf = (name: string) => pick(objects, 'Certificate', name).spec.issuerRef.name;
  expect(issuerOf('default-client-tls')).toBe(issuerOf('default-haproxy-tls'));
  expect(issuerOf('default-haproxy-client-tls')).toBe(issuerOf('default-builders-tls'));
  expect(issuerOf('default-client-tls')).not.toBe(issuerOf('default-builders-tls'));
});

test('the alert on certificates that end knows every one that is made', () => {
  const { objects } = all.find(({ name }) => name === 'two-trust-levels') ?? { objects: [] };
  const names = ofKind(objects, 'Certificate').map(({ metadata }) => String(metadata.name));
  expect(names).toContain('trusted-client-release-tls');
  const watched = ofKind(objects, 'PrometheusRule')
    .flatMap(({ spec }) => spec.groups.flatMap(({ rules }: Tree) => rules))
    .filter(({ alert }: Tree) => alert === 'BuildkitPoolCertificateExpiring')
    .flatMap(({ expr }: Tree) => [...String(expr).matchAll(/\bname=~"([^"]*)"/g)].map(([, names]) => names));
  expect(watched.length).toBeGreaterThan(0);
  const known = new RegExp(`^(?:${watched.join('|')})$`);
  expect(names.filter((name) => !known.test(name))).toEqual([]);
});

describe('each client of `priorities` can show who it is', () => {
  const priorities = `    priorities:
      - {name: release, head-start: 10m, clients: [release, CI Release, ci-release, '@@', default-client-tls]}
      - {name: main, head-start: 5m, clients: [main.deploy]}
    architectures: {amd64: {}}
`;
  const clients = (objects: ReturnType<typeof written>) =>
    ofKind(objects, 'Certificate').filter(({ spec }) => spec.usages?.includes('client auth'));

  test('by the common name that the load balancer looks for, signed by the CA that it asks for', () => {
    const objects = written(priorities);
    const found = clients(objects).filter(({ metadata }) => metadata.name !== 'default-haproxy-client-tls');
    const configuration = String(pick(objects, 'ConfigMap', 'default-haproxy').data['haproxy.cfg']);
    const wanted = [...configuration.matchAll(/ssl_c_s_dn\(CN\) -m str (.*) }/g)].flatMap(([, names = '']) =>
      [...names.matchAll(/'([^']*)'/g)].map(([, name]) => name),
    );
    const commonNames = found.map(({ spec }) => spec.commonName);
    expect(new Set(commonNames)).toEqual(new Set(wanted));
    expect(commonNames).toHaveLength(6);
    const names = found.map(({ metadata }) => String(metadata.name));
    expect(new Set(names).size).toBe(names.length);
    for (const name of names) expect(name).toMatch(/^[a-z](?:[-a-z0-9]*[a-z0-9])?$/);
    expect(names).toEqual(
      expect.arrayContaining(['default-client-release-tls', 'default-client-ci-release-tls']),
    );
    const outer = pick(objects, 'Certificate', 'default-haproxy-tls').spec.issuerRef;
    for (const { spec } of found) expect(spec.issuerRef).toEqual(outer);
  });

  test('by somebody else\u2019s issuer where that is given, and not at all where Secrets are', () => {
    const issuer = clients(written(`    tls: {issuer: {name: corporate}}\n${priorities}`));
    expect(issuer.filter(({ spec }) => spec.issuerRef.name === 'corporate')).toHaveLength(7);
    const secrets = '{certificates: secrets, secrets: {balancer: a, balancer-client: b, builders: c}}';
    expect(clients(written(`    tls: ${secrets}\n${priorities}`))).toEqual([]);
  });
});

describe('choices', () => {
  test('autoscaling off gives fixed replicas and no object of KEDA', () => {
    const objects = written('    autoscaling: off\n    architectures: {amd64: {replicas: 3}}\n');
    expect(pick(objects, 'StatefulSet', 'default-amd64-builder').spec.replicas).toBe(3);
    expect(
      objects.map(({ apiVersion }) => apiVersion).filter((version) => version.startsWith('keda')),
    ).toEqual([]);
  });

  test('without monitoring, TLS or Karpenter there is no object of theirs', () => {
    const objects = written('    tls: off\n    architectures: {amd64: {}}\n');
    const groups = new Set(objects.map(({ apiVersion }) => apiVersion.split('/')[0]));
    expect([...groups].sort()).toEqual(['apps', 'keda.sh', 'networking.k8s.io', 'policy', 'v1']);
  });

  test('with an issuer of others there is no issuer of ours', () => {
    const objects = written('    tls: {issuer: {name: corporate}}\n    architectures: {amd64: {}}\n');
    expect(ofKind(objects, 'Issuer')).toEqual([]);
    expect(ofKind(objects, 'Certificate').map(({ spec }) => spec.issuerRef)).toEqual(
      Array.from({ length: 4 }, () => ({
        group: 'cert-manager.io',
        kind: 'ClusterIssuer',
        name: 'corporate',
      })),
    );
  });

  test('with Secrets of others there is no certificate at all', () => {
    const objects = written(
      '    tls: {certificates: secrets, secrets: {balancer: a, balancer-client: b, builders: c}}\n    architectures: {amd64: {}}\n',
    );
    expect(ofKind(objects, 'Certificate')).toEqual([]);
    const secrets = [...ofKind(objects, 'Deployment'), ...ofKind(objects, 'StatefulSet')].flatMap(
      ({ spec }) =>
        spec.template.spec.volumes.flatMap(({ secret }: Tree) =>
          secret === undefined ? [] : [secret.secretName],
        ),
    );
    expect(secrets.sort()).toEqual(['a', 'b', 'c']);
  });

  test('with pass-through the load balancer has no key', () => {
    const objects = written('    tls: {mode: passthrough}\n    architectures: {amd64: {}}\n');
    const volumes = pick(objects, 'Deployment', 'default-haproxy').spec.template.spec.volumes;
    expect(volumes.map(({ name }: Tree) => name)).toEqual(['configuration', 'run']);
    expect(ofKind(objects, 'Certificate').map(({ metadata }) => metadata.name)).not.toContain(
      'default-haproxy-tls',
    );
  });

  test('a load balancer of the cloud is one Service for all architectures, open to the given ranges', () => {
    const objects = written(
      '    exposure:\n      service: load-balancer\n      host: "{arch}.builds.example.com"\n      annotations: {a/b: c}\n      clients: {cidrs: [192.0.2.0/24]}\n    architectures: {amd64: {}, arm64: {}}\n',
    );
    const { metadata, spec } = pick(objects, 'Service', 'default');
    expect(metadata.annotations).toEqual({ 'a/b': 'c' });
    expect(spec).toMatchObject({
      type: 'LoadBalancer',
      externalTrafficPolicy: 'Local',
      loadBalancerSourceRanges: ['192.0.2.0/24'],
    });
    expect(spec.ports.map(({ name }: Tree) => name)).toEqual(['amd64', 'arm64']);
  });

  test('a volume an ordinal stays when its builder goes', () => {
    const objects = written('    cache: {kind: volume, size: 50Gi}\n    architectures: {amd64: {}}\n');
    const { spec } = pick(objects, 'StatefulSet', 'default-amd64-builder');
    expect(spec.persistentVolumeClaimRetentionPolicy).toEqual({
      whenDeleted: 'Retain',
      whenScaled: 'Retain',
    });
    expect(spec.volumeClaimTemplates[0].spec.resources.requests.storage).toBe('50Gi');
    expect(spec.template.spec.volumes.some(({ hostPath }: Tree) => hostPath !== undefined)).toBe(false);
  });

  test('the rootless profile has no privileged container', () => {
    const objects = written('    profile: rootless\n    architectures: {amd64: {}}\n');
    expect(JSON.stringify(objects)).not.toContain('"privileged":true');
    const [buildkitd] = pick(objects, 'StatefulSet', 'default-amd64-builder').spec.template.spec.containers;
    expect(buildkitd.image).toMatch(/-rootless$/);
    expect(buildkitd.securityContext).toMatchObject({ runAsNonRoot: true, runAsUser: 1000 });
  });

  test('a volume keeps its group: the kubelet looks at its root, not at every file of a cache', () => {
    const objects = written(
      '    profile: rootless\n    cache: {kind: volume}\n    architectures: {amd64: {}}\n',
    );
    expect(pick(objects, 'StatefulSet', 'default-amd64-builder').spec.template.spec.securityContext).toEqual({
      fsGroup: 1000,
      fsGroupChangePolicy: 'OnRootMismatch',
    });
  });

  test('load balancer and pool document leave a dead node after half a minute, unless pool.yaml says otherwise', () => {
    const dead = (key: string) => ({ key, operator: 'Exists', effect: 'NoExecute', tolerationSeconds: 30 });
    const [notReady, unreachable] = ['node.kubernetes.io/not-ready', 'node.kubernetes.io/unreachable'];
    const tolerations = (objects: ReturnType<typeof composeText>) =>
      ofKind(objects, 'Deployment').map(({ spec }) => spec.template.spec.tolerations);
    const both = [dead(notReady ?? ''), dead(unreachable ?? '')];
    expect(tolerations(written('    architectures: {amd64: {}}\n'))).toEqual([both, both]);
    const own = { key: unreachable, operator: 'Exists', effect: 'NoExecute' };
    expect(
      tolerations(
        written(
          `    balancer: {tolerations: [{key: ${unreachable}, effect: NoExecute}]}\n    architectures: {amd64: {}}\n`,
        ),
      ),
    ).toEqual([
      [own, both[0]],
      [own, both[0]],
    ]);
  });

  test('the pods of the pool document keep apart where they can', () => {
    const objects = written('    architectures: {amd64: {}}\n');
    const apartFrom = (name: string) =>
      pick(
        objects,
        'Deployment',
        name,
      ).spec.template.spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution.map(
        ({ podAffinityTerm }: Tree) =>
          podAffinityTerm.labelSelector.matchLabels['app.kubernetes.io/component'],
      );
    expect(apartFrom('default-document')).toEqual(['builder', 'document']);
    expect(apartFrom('default-haproxy')).toEqual(['builder']);
  });

  test('mirrors reach buildkitd\u2019s file', () => {
    const objects = written(
      '    mirrors: {docker.io: [r.example.com/hub], "r.example.com:5000": [m.example.com]}\n    architectures: {amd64: {}}\n',
    );
    const { data } = pick(objects, 'ConfigMap', 'default-amd64-builder');
    expect(parseToml(data['buildkitd.toml'])['registry']).toEqual({
      'docker.io': { mirrors: ['r.example.com/hub'] },
      'r.example.com:5000': { mirrors: ['m.example.com'] },
    });
  });

  test('images can be one\u2019s own', () => {
    const objects = written(
      '    images: {buildkit: "r.example.com/b:1", haproxy: "r.example.com/h:1", pull-secrets: [s]}\n    architectures: {amd64: {}}\n',
    );
    const pods = [...ofKind(objects, 'Deployment'), ...ofKind(objects, 'StatefulSet')].map(
      ({ spec }) => spec.template.spec,
    );
    expect(new Set(pods.flatMap(({ containers }) => containers.map(({ image }: Tree) => image)))).toEqual(
      new Set(['r.example.com/h:1', 'r.example.com/b:1']),
    );
    expect(pods.every(({ imagePullSecrets }) => imagePullSecrets[0].name === 's')).toBe(true);
  });
});

test('the annotations for AWS in the operations guide fit the pool that they are for', () => {
  const guide = readFileSync('docs/operations.md', 'utf8');
  const section = /<!-- nlb -->\n\n```yaml\n(.*?)```/s.exec(guide)?.[1] ?? '';
  const { sizing, warnings } = accept(
    `version: 1\npools:\n  default:\n${section.replaceAll(/^(?=.)/gm, '    ')}    architectures: {amd64: {}, arm64: {}}\n`,
  );
  expect(warnings).toEqual([]);
  const [pool] = sizing.pools;
  if (pool === undefined) throw new Error('no pool');
  const prefix = 'service.beta.kubernetes.io/aws-load-balancer-';
  const annotations = new Map(
    Object.entries(pool.pool.exposure.annotations).map(([key, value]) => [key.replace(prefix, ''), value]),
  );
  expect(annotations.get('healthcheck-port')).toBe(String(pool.balancer.metricsPort));
  expect([...annotations.keys()].filter((key) => key.startsWith('listener-attributes.'))).toEqual(
    pool.architectures.map(({ line }) => `listener-attributes.TCP-${line.port.value}`),
  );
  const attributes = new URLSearchParams(
    annotations.get('target-group-attributes')?.replaceAll(',', '&') ?? '',
  );
  expect(Number(attributes.get('target_health_state.unhealthy.draining_interval_seconds'))).toBeGreaterThan(
    pool.balancer.graceSeconds.value,
  );
});

test('the examples are those that the documentation promises', () => {
  expect(all.map(({ name }) => name)).toEqual([
    'eks-karpenter',
    'eks-production',
    'kind',
    'no-karpenter',
    'two-trust-levels',
  ]);
  const limits = (name: string) =>
    composePool(sizeText(exampleNamed(name).poolYaml))
      .filter(({ kind }) => kind === 'ScaledObject')
      .map((object) => (object as Tree).spec)
      .map((spec) => [spec.minReplicaCount, spec.maxReplicaCount, spec.fallback.replicas]);
  expect(limits('eks-karpenter').map(([min, max]) => [min, max])).toEqual([
    [2, 8],
    [4, 8],
  ]);
  expect(limits('eks-production')).toEqual([
    [32, 360, 32],
    [8, 30, 8],
  ]);
});
