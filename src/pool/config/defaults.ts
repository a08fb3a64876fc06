/** What pool.yaml means where it says nothing, as one would write it. The schema, its documentation and the parser share it. */
export const DEFAULTS = {
  cluster: {
    domain: 'cluster.local',
    kubernetes: '1.34',
    createNamespaces: true,
    kedaNamespace: 'keda',
    monitoringNamespace: 'monitoring',
    dnsNamespace: 'kube-system',
    dnsLabels: { 'k8s-app': 'kube-dns' },
  },
  karpenter: {
    ami: 'al2023@latest',
    emptyAfter: '5m',
    workingHours: { from: '0 6 * * mon-fri', lasts: '14h' },
  },
  pool: {
    autoscaling: 'keda',
    monitoring: 'none',
    profile: 'privileged',
  },
  builds: { longest: '2h', typical: '15m', coldStart: '5m' },
  scaleDown: { idle: '20m', builders: 10, percent: 20 },
  tls: { mode: 'terminate', certificates: 'cert-manager', lifetime: '2160h', renewBefore: '720h' },
  cache: { kind: 'node-local', path: '/var/lib/buildkit-pool', size: '100Gi' },
  exposure: { service: 'cluster', ports: 'per-architecture', port: 1234 },
  balancer: { metricsPort: 8405 },
  document: { port: 8080 },
  architecture: { min: 1, max: 4, spare: 0, buildersPerNode: 1 },
  nodes: { capacity: 'on-demand', reserve: { cpu: '500m', memory: '1Gi' } },
} as const;
