/**
 * What docker/bake-action 7 (with actions-toolkit 0.92) hands to buildx, by its own rules: one row a rule.
 * `--builder` and `--metadata-file` come with every bake and are left out. Flags are compared in the order of their
 * names: only the order among the same flag has a meaning.
 */
import { type PeerRow, RUN_URL, SHA } from './peer-build-table.ts';

export interface PeerBakeRow extends PeerRow {
  /** What the bake files come to; one target `app` that says nothing where left out. */
  readonly definition?: { readonly target: Readonly<Record<string, Readonly<Record<string, unknown>>>> };
  /** Folder in which buildx is run. */
  readonly folder?: string;
}

const GIT = `https://github.com/octo/app.git#${SHA}`;
const ID = `builder-id=${RUN_URL}`;
const FS = ['--allow', 'fs=*'];
const provenance = (target: string) => ['--set', `${target}.attest=type=provenance,mode=max,${ID}`];

/** A bake of the folder `.` with the default provenance for `app`. */
const here = (...flags: readonly string[]) => ['bake', ...FS, ...flags, ...provenance('app')];
const HERE = { source: '.' };

export const BAKE_ROWS: readonly PeerBakeRow[] = [
  // The source.
  { rule: 'a folder is where buildx runs', inputs: HERE, folder: '.', expected: here() },
  {
    rule: 'another folder',
    inputs: { source: './docker' },
    folder: './docker',
    expected: here(),
  },
  {
    rule: 'without a source the commit of the event is read and built',
    inputs: { targets: 'app' },
    expected: ['bake', GIT, ...FS, ...provenance('app'), 'app'],
  },
  {
    rule: '{{defaultContext}} stands for it, also with a folder',
    inputs: { source: '{{defaultContext}}:docker' },
    expected: ['bake', `${GIT}:docker`, ...FS, ...provenance('app')],
  },
  {
    rule: 'another repository is taken as it is',
    inputs: { source: 'https://github.com/moby/buildkit.git' },
    expected: ['bake', 'https://github.com/moby/buildkit.git', ...FS, ...provenance('app')],
  },
  {
    rule: 'a repository by SSH is remote too',
    inputs: { source: 'git@github.com:moby/buildkit.git' },
    expected: ['bake', 'git@github.com:moby/buildkit.git', ...FS, ...provenance('app')],
  },
  {
    rule: 'the pull request of the job',
    inputs: { targets: 'app' },
    env: { GITHUB_REF: 'refs/pull/7/merge', GITHUB_SHA: '' },
    expected: [
      'bake',
      'https://github.com/octo/app.git#refs/pull/7/merge',
      ...FS,
      ...provenance('app'),
      'app',
    ],
  },
  // Lists.
  {
    rule: 'files: commas and lines separate',
    inputs: { ...HERE, files: './a.hcl,b.hcl\nc.json' },
    expected: here('--file', './a.hcl', '--file', 'b.hcl', '--file', 'c.json'),
  },
  {
    rule: 'targets: commas and lines separate, and come last',
    inputs: { ...HERE, targets: 'app,db\ntest' },
    expected: [...here(), 'app', 'db', 'test'],
  },
  {
    rule: 'set: a comma belongs to the value',
    inputs: { ...HERE, set: '*.platform=linux/amd64,linux/arm64\n*.output=type=registry' },
    expected: here('--set', '*.platform=linux/amd64,linux/arm64', '--set', '*.output=type=registry'),
  },
  {
    rule: 'set keeps its quotes',
    inputs: { ...HERE, set: 'app.args.X="a b"\n"*.labels.x=1"' },
    expected: here('--set', 'app.args.X="a b"', '--set', '"*.labels.x=1"'),
  },
  {
    rule: 'vars: a comma belongs to the value, quotes stay',
    inputs: { ...HERE, vars: 'TAG=1,2\nNAME="x"' },
    expected: here('--var', 'TAG=1,2', '--var', 'NAME="x"'),
  },
  {
    rule: 'allow: what the workflow allows and, always, files anywhere',
    inputs: { ...HERE, allow: 'network.host,security.insecure' },
    expected: [
      'bake',
      ...['--allow', 'network.host', '--allow', 'security.insecure'],
      ...FS,
      ...provenance('app'),
    ],
  },
  // Single values and switches.
  { rule: 'call', inputs: { ...HERE, call: 'check' }, expected: here('--call', 'check') },
  {
    rule: 'no-cache, pull and push',
    inputs: { ...HERE, 'no-cache': 'true', pull: 'True', push: 'TRUE' },
    expected: here('--no-cache', '--pull', '--push'),
  },
  { rule: 'sbom is passed on as it is', inputs: { ...HERE, sbom: 'true' }, expected: here('--sbom', 'true') },
  // Provenance.
  {
    rule: 'load: no default provenance',
    inputs: { ...HERE, load: 'true' },
    expected: ['bake', ...FS, '--load'],
  },
  {
    rule: 'provenance: true',
    inputs: { ...HERE, provenance: 'true' },
    expected: ['bake', ...FS, '--provenance', ID],
  },
  {
    rule: 'provenance: false',
    inputs: { ...HERE, provenance: 'false' },
    expected: ['bake', ...FS, '--provenance', 'false'],
  },
  {
    rule: 'provenance: attributes',
    inputs: { ...HERE, provenance: 'mode=max' },
    expected: ['bake', ...FS, '--provenance', `mode=max,${ID}`],
  },
  {
    rule: 'a private repository tells the least',
    inputs: HERE,
    event: { repository: { private: true } },
    expected: ['bake', ...FS, '--set', `app.attest=type=provenance,mode=min,inline-only=true,${ID}`],
  },
  {
    rule: 'BUILDX_NO_DEFAULT_ATTESTATIONS',
    inputs: HERE,
    env: { BUILDX_NO_DEFAULT_ATTESTATIONS: 'true' },
    expected: ['bake', ...FS],
  },
  {
    rule: 'every target that says nothing of provenance gets the default one',
    inputs: HERE,
    definition: {
      target: {
        app: {},
        own: { attest: [{ type: 'provenance', mode: 'min' }] },
        sbom: { attest: [{ type: 'sbom' }] },
      },
    },
    expected: ['bake', ...FS, ...provenance('app'), ...provenance('sbom')],
  },
  {
    rule: 'one target whose result goes to an engine: no default provenance for any',
    inputs: HERE,
    definition: { target: { app: {}, local: { output: [{ type: 'docker' }] } } },
    expected: ['bake', ...FS],
  },
];
