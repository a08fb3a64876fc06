/** Every output of the Action; action.yml and the README's table are generated from this one. */
export const OUTPUTS = {
  'queue-time': 'How long the build waited for a builder, for people',
  'queue-time-ms': 'The same in milliseconds',
  'queue-times-ms': 'The same for each architecture, JSON: `{"amd64":1200,"arm64":90000}`',
  'build-time-ms': 'From the builder being ours to giving it back, in milliseconds',
  attempts: 'How many builders, or sets of builders, the work was run on',
  builder: 'Address of the pool that built, or `local` where this machine did (see `fallback`)',
  imageid: 'ID of the image',
  digest: 'Digest of the image',
  metadata: 'Metadata of the build, JSON',
  report: 'Path of report.json',
  name: 'Set-up: name of the builder',
  driver: 'Set-up: driver of the builder, `remote`',
  platforms: 'Set-up: platforms of the builder, separated by commas',
  nodes: 'Set-up: nodes of the builder, JSON',
  endpoint: 'Set-up: address of the builder, a unix socket; of its first node, if there are several',
} as const;
export type OutputName = keyof typeof OUTPUTS;
