/**
 * What docker/build-push-action 7.3 (with actions-toolkit 0.92) hands to buildx, by its own rules: one row a rule.
 * `--builder` and `--metadata-file` come with every build and are left out. A secret's value, which the peer writes to a
 * file and we keep in a variable, stands as `id=…,value=…`. Flags are compared in the order of their names: only the
 * order among the same flag has a meaning.
 */
export interface PeerRow {
  readonly rule: string;
  readonly inputs: Readonly<Record<string, string>>;
  readonly env?: Readonly<Record<string, string>>;
  /** The event's payload. */
  readonly event?: unknown;
  readonly expected: readonly string[];
}

export const SHA = '0123456789abcdef0123456789abcdef01234567';
const HEAD_SHA = 'fedcba9876543210fedcba9876543210fedcba98';
export const RUN_URL = 'https://github.com/octo/app/actions/runs/42/attempts/2';
export const JOB_ENV = {
  GITHUB_SERVER_URL: 'https://github.com',
  GITHUB_REPOSITORY: 'octo/app',
  GITHUB_REF: 'refs/heads/main',
  GITHUB_SHA: SHA,
  GITHUB_RUN_ID: '42',
  GITHUB_RUN_ATTEMPT: '2',
} as const;
/** Files in the workspace that rows name. */
export const WORKSPACE_FILES = ['Dockerfile.test', 'docker/Dockerfile', 'token.txt', 'a,b.txt'] as const;

const GIT = `https://github.com/octo/app.git#${SHA}`;
const ID = `builder-id=${RUN_URL}`;
const IID = ['--iidfile', '/iid'];
const DEFAULT = ['--attest', `type=provenance,mode=max,${ID}`];
const PRIVATE = { repository: { private: true } };
const PULL = { GITHUB_REF: 'refs/pull/7/merge' };

/** A build of `.` with the default provenance and an image ID. */
const build = (...flags: readonly string[]) => ['build', ...flags, ...IID, ...DEFAULT, '.'];

export const BUILD_ROWS: readonly PeerRow[] = [
  // The context.
  { rule: 'a folder is the context', inputs: { context: '.' }, expected: build() },
  {
    rule: 'without a context the commit of the event is built',
    inputs: { tags: 'a' },
    expected: ['build', ...IID, ...DEFAULT, '--tag', 'a', GIT],
  },
  {
    rule: 'the default context of a pull request is the commit of its merge',
    inputs: { tags: 'a' },
    env: PULL,
    expected: ['build', ...IID, ...DEFAULT, '--tag', 'a', GIT],
  },
  {
    rule: 'DOCKER_DEFAULT_GIT_CONTEXT_PR_HEAD_REF builds the head of a pull request',
    inputs: { tags: 'a' },
    env: { ...PULL, DOCKER_DEFAULT_GIT_CONTEXT_PR_HEAD_REF: 'true' },
    event: { pull_request: { head: { sha: HEAD_SHA } } },
    expected: ['build', ...IID, ...DEFAULT, '--tag', 'a', `https://github.com/octo/app.git#${HEAD_SHA}`],
  },
  {
    rule: 'the head of a pull request whose event tells no commit is named by its ref',
    inputs: { tags: 'a' },
    env: { ...PULL, DOCKER_DEFAULT_GIT_CONTEXT_PR_HEAD_REF: '1' },
    expected: ['build', ...IID, ...DEFAULT, '--tag', 'a', 'https://github.com/octo/app.git#refs/pull/7/head'],
  },
  {
    rule: 'that variable changes nothing for a branch',
    inputs: { tags: 'a' },
    env: { DOCKER_DEFAULT_GIT_CONTEXT_PR_HEAD_REF: 'true' },
    expected: ['build', ...IID, ...DEFAULT, '--tag', 'a', GIT],
  },
  {
    rule: 'without a commit the ref is built',
    inputs: { tags: 'a' },
    env: { GITHUB_SHA: '' },
    expected: ['build', ...IID, ...DEFAULT, '--tag', 'a', 'https://github.com/octo/app.git#refs/heads/main'],
  },
  {
    rule: 'a ref without refs/ is a branch',
    inputs: { tags: 'a' },
    env: { GITHUB_SHA: '', GITHUB_REF: 'main' },
    expected: ['build', ...IID, ...DEFAULT, '--tag', 'a', 'https://github.com/octo/app.git#refs/heads/main'],
  },
  {
    rule: 'BUILDX_SEND_GIT_QUERY_AS_INPUT writes the default context as a query',
    inputs: { tags: 'a' },
    env: { BUILDX_SEND_GIT_QUERY_AS_INPUT: 'true' },
    expected: ['build', ...IID, ...DEFAULT, '--tag', 'a', `https://github.com/octo/app.git?ref=${SHA}`],
  },
  {
    rule: 'a server of its own (GitHub Enterprise) is in the default context',
    inputs: { tags: 'a' },
    env: { GITHUB_SERVER_URL: 'https://ghe.example.com' },
    expected: [
      'build',
      ...IID,
      '--attest',
      'type=provenance,mode=max,builder-id=https://ghe.example.com/octo/app/actions/runs/42/attempts/2',
      '--tag',
      'a',
      `https://ghe.example.com/octo/app.git#${SHA}`,
    ],
  },
  {
    rule: '{{defaultContext}} stands for the default context, also with a folder',
    inputs: { context: '{{defaultContext}}:docker' },
    expected: ['build', ...IID, ...DEFAULT, `${GIT}:docker`],
  },
  {
    rule: 'white space in {{ defaultContext }} means nothing',
    inputs: { context: '{{ defaultContext }}' },
    expected: ['build', ...IID, ...DEFAULT, GIT],
  },
  {
    rule: 'another repository is taken as it is',
    inputs: { context: 'https://github.com/moby/buildkit.git#v0.20.0' },
    expected: ['build', ...IID, ...DEFAULT, 'https://github.com/moby/buildkit.git#v0.20.0'],
  },
  {
    rule: 'the Dockerfile is named from the workspace',
    inputs: { context: '.', file: './docker/Dockerfile' },
    expected: build('--file', './docker/Dockerfile'),
  },
  {
    rule: 'the Dockerfile of a remote context is not looked for here',
    inputs: { file: 'build/Dockerfile' },
    expected: ['build', '--file', 'build/Dockerfile', ...IID, ...DEFAULT, GIT],
  },
  // Lists.
  {
    rule: 'tags: commas and lines separate',
    inputs: { context: '.', tags: 'a:1,b:2\nc:3' },
    expected: build('--tag', 'a:1', '--tag', 'b:2', '--tag', 'c:3'),
  },
  {
    rule: 'tags: white space around an item and empty lines mean nothing',
    inputs: { context: '.', tags: '\n  a:1 , b:2\n\n  c:3\n' },
    expected: build('--tag', 'a:1', '--tag', 'b:2', '--tag', 'c:3'),
  },
  {
    rule: 'tags: lines may end as on Windows',
    inputs: { context: '.', tags: 'a:1\r\nb:2\r\n' },
    expected: build('--tag', 'a:1', '--tag', 'b:2'),
  },
  {
    rule: 'build-args: a comma belongs to the value',
    inputs: { context: '.', 'build-args': 'A=1,2,3\nB=x y' },
    expected: build('--build-arg', 'A=1,2,3', '--build-arg', 'B=x y'),
  },
  {
    rule: 'build-args: one of several lines is enclosed in quotes, as a whole',
    inputs: { context: '.', 'build-args': '"A=first\nsecond"\nB=2' },
    expected: build('--build-arg', 'A=first\nsecond', '--build-arg', 'B=2'),
  },
  {
    rule: 'build-args: quotes in the middle stay',
    inputs: { context: '.', 'build-args': 'JSON={"a":"b","c":[1,2]}' },
    expected: build('--build-arg', 'JSON={"a":"b","c":[1,2]}'),
  },
  {
    rule: 'build-args: an enclosed one may hold doubled quotes',
    inputs: { context: '.', 'build-args': '"A=say ""yes"", please"' },
    expected: build('--build-arg', 'A=say "yes", please'),
  },
  {
    rule: 'build-args: a name alone takes its value from the environment',
    inputs: { context: '.', 'build-args': 'HTTP_PROXY' },
    expected: build('--build-arg', 'HTTP_PROXY'),
  },
  {
    rule: 'build-args: a line that begins with # is no comment',
    inputs: { context: '.', 'build-args': '#A=1\nB=2' },
    expected: build('--build-arg', '#A=1', '--build-arg', 'B=2'),
  },
  {
    rule: 'labels: a comma belongs to the value',
    inputs: { context: '.', labels: 'a=x,y\nb=z' },
    expected: build('--label', 'a=x,y', '--label', 'b=z'),
  },
  {
    rule: 'annotations: a comma belongs to the value, a level may stand before',
    inputs: { context: '.', annotations: 'a=x,y\nindex,manifest:b=z' },
    expected: build('--annotation', 'a=x,y', '--annotation', 'index,manifest:b=z'),
  },
  {
    rule: 'cache-from: a comma belongs to the source',
    inputs: { context: '.', 'cache-from': 'user/app:cache\ntype=local,src=path/to/dir' },
    expected: build('--cache-from', 'user/app:cache', '--cache-from', 'type=local,src=path/to/dir'),
  },
  {
    rule: 'cache-to: a comma belongs to the destination',
    inputs: { context: '.', 'cache-to': 'type=gha,mode=max' },
    expected: build('--cache-to', 'type=gha,mode=max'),
  },
  {
    rule: 'build-contexts: one a line, {{defaultContext}} too',
    inputs: { context: '.', 'build-contexts': 'alpine=docker-image://alpine:3\nsrc={{defaultContext}}:src' },
    expected: build('--build-context', 'alpine=docker-image://alpine:3', '--build-context', `src=${GIT}:src`),
  },
  {
    rule: 'add-hosts: commas and lines separate',
    inputs: { context: '.', 'add-hosts': 'docker:10.180.0.1,foo:10.0.0.1\nbar:10.0.0.2' },
    expected: build(
      '--add-host',
      'docker:10.180.0.1',
      '--add-host',
      'foo:10.0.0.1',
      '--add-host',
      'bar:10.0.0.2',
    ),
  },
  {
    rule: 'allow: commas and lines separate',
    inputs: { context: '.', allow: 'network.host,security.insecure' },
    expected: build('--allow', 'network.host', '--allow', 'security.insecure'),
  },
  {
    rule: 'no-cache-filters: commas and lines separate',
    inputs: { context: '.', 'no-cache-filters': 'base,final' },
    expected: build('--no-cache-filter', 'base', '--no-cache-filter', 'final'),
  },
  {
    rule: 'ssh: commas and lines separate',
    inputs: { context: '.', ssh: 'default,other=/run/agent.sock' },
    expected: build('--ssh', 'default', '--ssh', 'other=/run/agent.sock'),
  },
  {
    rule: 'ulimit: a comma belongs to the value',
    inputs: { context: '.', ulimit: 'nofile=1024:1024\nnproc=3' },
    expected: build('--ulimit', 'nofile=1024:1024', '--ulimit', 'nproc=3'),
  },
  {
    rule: 'platforms: joined by commas into one flag',
    inputs: { context: '.', platforms: 'linux/amd64\nlinux/arm64,linux/arm/v7' },
    expected: build('--platform', 'linux/amd64,linux/arm64,linux/arm/v7'),
  },
  // Single values and switches.
  { rule: 'target', inputs: { context: '.', target: 'final' }, expected: build('--target', 'final') },
  { rule: 'network', inputs: { context: '.', network: 'host' }, expected: build('--network', 'host') },
  { rule: 'shm-size', inputs: { context: '.', 'shm-size': '2g' }, expected: build('--shm-size', '2g') },
  {
    rule: 'cgroup-parent',
    inputs: { context: '.', 'cgroup-parent': 'foo' },
    expected: build('--cgroup-parent', 'foo'),
  },
  { rule: 'call', inputs: { context: '.', call: 'check' }, expected: build('--call', 'check') },
  {
    rule: 'pull and no-cache',
    inputs: { context: '.', pull: 'true', 'no-cache': 'True' },
    expected: build('--pull', '--no-cache'),
  },
  {
    rule: 'push',
    inputs: { context: '.', push: 'TRUE', tags: 'localhost:5000/a' },
    expected: build('--push', '--tag', 'localhost:5000/a'),
  },
  {
    rule: 'false is false',
    inputs: { context: '.', push: 'false', load: 'False', pull: 'FALSE' },
    expected: build(),
  },
  // Outputs and the image ID.
  {
    rule: 'outputs keep their quotes',
    inputs: { context: '.', outputs: 'type=image,"name=localhost:5000/a,localhost:5000/b",push=true' },
    expected: build('--output', 'type=image,"name=localhost:5000/a,localhost:5000/b",push=true'),
  },
  {
    rule: 'outputs: one a line',
    inputs: { context: '.', outputs: 'type=image,name=a\ntype=oci,dest=/tmp/a.tar' },
    expected: build('--output', 'type=image,name=a', '--output', 'type=oci,dest=/tmp/a.tar'),
  },
  {
    rule: 'a folder as output has no image ID',
    inputs: { context: '.', outputs: 'type=local,dest=./out' },
    expected: ['build', '--output', 'type=local,dest=./out', ...DEFAULT, '.'],
  },
  {
    rule: 'a bare path is a folder, with no image ID',
    inputs: { context: '.', outputs: './out' },
    expected: ['build', '--output', './out', ...DEFAULT, '.'],
  },
  {
    rule: 'an archive as output has no image ID',
    inputs: { context: '.', outputs: 'type=tar,dest=/tmp/a.tar' },
    expected: ['build', '--output', 'type=tar,dest=/tmp/a.tar', ...DEFAULT, '.'],
  },
  {
    rule: 'a folder among several outputs has no image ID either',
    inputs: { context: '.', outputs: 'type=image,name=a\ntype=local,dest=out' },
    expected: ['build', '--output', 'type=image,name=a', '--output', 'type=local,dest=out', ...DEFAULT, '.'],
  },
  {
    rule: 'cacheonly has an image ID',
    inputs: { context: '.', outputs: 'type=cacheonly' },
    expected: build('--output', 'type=cacheonly'),
  },
  // Attestations.
  {
    rule: 'no default provenance for an image that is loaded',
    inputs: { context: '.', load: 'true' },
    expected: ['build', '--load', ...IID, '.'],
  },
  {
    rule: 'no default provenance for an engine as output',
    inputs: { context: '.', outputs: 'type=docker,dest=/tmp/a.tar' },
    expected: ['build', '--output', 'type=docker,dest=/tmp/a.tar', ...IID, '.'],
  },
  {
    rule: 'a private repository tells the least, inside the image only',
    inputs: { context: '.' },
    event: PRIVATE,
    expected: ['build', ...IID, '--attest', `type=provenance,mode=min,inline-only=true,${ID}`, '.'],
  },
  {
    rule: 'BUILDX_NO_DEFAULT_ATTESTATIONS',
    inputs: { context: '.' },
    env: { BUILDX_NO_DEFAULT_ATTESTATIONS: '1' },
    expected: ['build', ...IID, '.'],
  },
  {
    rule: 'BUILDX_NO_DEFAULT_ATTESTATIONS may say no',
    inputs: { context: '.' },
    env: { BUILDX_NO_DEFAULT_ATTESTATIONS: 'false' },
    expected: build(),
  },
  {
    rule: 'provenance: true',
    inputs: { context: '.', provenance: 'true' },
    expected: ['build', ...IID, '--attest', `type=provenance,${ID}`, '.'],
  },
  {
    rule: 'provenance: false',
    inputs: { context: '.', provenance: 'false' },
    expected: ['build', ...IID, '--attest', 'type=provenance,disabled=true', '.'],
  },
  {
    rule: 'provenance: attributes get the run as builder-id',
    inputs: { context: '.', provenance: 'mode=max,reproducible=true' },
    expected: ['build', ...IID, '--attest', `type=provenance,mode=max,reproducible=true,${ID}`, '.'],
  },
  {
    rule: 'provenance: a builder-id of its own stays',
    inputs: { context: '.', provenance: 'mode=min,builder-id=mine' },
    expected: ['build', ...IID, '--attest', 'type=provenance,mode=min,builder-id=mine', '.'],
  },
  {
    rule: 'provenance is asked for even where the image is loaded',
    inputs: { context: '.', load: 'true', provenance: 'mode=max' },
    expected: ['build', '--load', ...IID, '--attest', `type=provenance,mode=max,${ID}`, '.'],
  },
  {
    rule: 'provenance: 1 is spelt out beside the builder-id',
    inputs: { context: '.', provenance: '1' },
    expected: ['build', ...IID, '--attest', `type=provenance,disabled=false,${ID}`, '.'],
  },
  {
    rule: 'sbom: true',
    inputs: { context: '.', sbom: 'true' },
    expected: ['build', ...IID, ...DEFAULT, '--attest', 'type=sbom,disabled=false', '.'],
  },
  {
    rule: 'sbom: false',
    inputs: { context: '.', sbom: 'false' },
    expected: ['build', ...IID, ...DEFAULT, '--attest', 'type=sbom,disabled=true', '.'],
  },
  {
    rule: 'sbom: attributes',
    inputs: { context: '.', sbom: 'generator=docker/scout-sbom-indexer:latest' },
    expected: [
      'build',
      ...IID,
      ...DEFAULT,
      '--attest',
      'type=sbom,generator=docker/scout-sbom-indexer:latest',
      '.',
    ],
  },
  {
    rule: 'a provenance among attests takes the place of the default one and gets the builder-id',
    inputs: { context: '.', attests: 'type=provenance,mode=min' },
    expected: ['build', ...IID, '--attest', `type=provenance,mode=min,${ID}`, '.'],
  },
  {
    rule: 'the input provenance comes before one among attests',
    inputs: { context: '.', provenance: 'false', attests: 'type=provenance,mode=min\ntype=sbom' },
    expected: ['build', ...IID, '--attest', 'type=provenance,disabled=true', '--attest', 'type=sbom', '.'],
  },
  {
    rule: 'the input sbom comes before one among attests',
    inputs: { context: '.', sbom: 'true', attests: 'type=sbom,generator=x' },
    expected: ['build', ...IID, ...DEFAULT, '--attest', 'type=sbom,disabled=false', '.'],
  },
  {
    rule: 'a sbom among attests is passed on as it is',
    inputs: { context: '.', attests: 'type=sbom,generator=x,y=1' },
    expected: ['build', ...IID, ...DEFAULT, '--attest', 'type=sbom,generator=x,y=1', '.'],
  },
  {
    rule: 'attests of other types have their booleans spelt out',
    inputs: { context: '.', attests: 'type=other,true' },
    expected: ['build', ...IID, ...DEFAULT, '--attest', 'type=other,disabled=false', '.'],
  },
  // Secrets.
  {
    rule: 'secrets: the value is everything after the first =',
    inputs: { context: '.', secrets: 'A=x=y,z\nB={"k":"v"}' },
    expected: build('--secret', 'id=A,value=x=y,z', '--secret', 'id=B,value={"k":"v"}'),
  },
  {
    rule: 'secrets: white space after the = and at the end stays',
    inputs: { context: '.', secrets: 'A=  x  \nB=y' },
    expected: build('--secret', 'id=A,value=  x  ', '--secret', 'id=B,value=y'),
  },
  {
    rule: 'secrets: one of several lines is enclosed in quotes, as a whole',
    inputs: { context: '.', secrets: '"KEY=-----BEGIN-----\nabc\n\n-----END-----"\nB=y' },
    expected: build(
      '--secret',
      'id=KEY,value=-----BEGIN-----\nabc\n\n-----END-----',
      '--secret',
      'id=B,value=y',
    ),
  },
  {
    rule: 'secrets: one without a value, or without an id, is left out',
    inputs: { context: '.', secrets: 'EMPTY=\nnothing\n=x\nB=y' },
    expected: build('--secret', 'id=B,value=y'),
  },
  {
    rule: 'secret-envs: commas and lines separate',
    inputs: { context: '.', 'secret-envs': 'A=MY_A,B=MY_B\nC=MY_C' },
    expected: build('--secret', 'id=A,env=MY_A', '--secret', 'id=B,env=MY_B', '--secret', 'id=C,env=MY_C'),
  },
  {
    rule: 'secret-files: one a line, those that do not exist left out',
    inputs: { context: '.', 'secret-files': 'A=token.txt\nB=missing.txt' },
    expected: build('--secret', 'id=A,src=token.txt'),
  },
  {
    rule: 'secrets: variables first, then values, then files',
    inputs: { context: '.', secrets: 'V=1', 'secret-envs': 'E=X', 'secret-files': 'F=token.txt' },
    expected: build('--secret', 'id=E,env=X', '--secret', 'id=V,value=1', '--secret', 'id=F,src=token.txt'),
  },
  {
    rule: 'github-token opens the default context',
    inputs: { tags: 'a', 'github-token': 'ghs_1' },
    expected: [
      'build',
      ...IID,
      ...DEFAULT,
      '--secret',
      'id=GIT_AUTH_TOKEN.github.com,value=ghs_1',
      '--tag',
      'a',
      GIT,
    ],
  },
  {
    rule: 'github-token opens a folder of the default context',
    inputs: { context: '{{defaultContext}}:docker', 'github-token': 'ghs_1' },
    expected: [
      'build',
      ...IID,
      ...DEFAULT,
      '--secret',
      'id=GIT_AUTH_TOKEN.github.com,value=ghs_1',
      `${GIT}:docker`,
    ],
  },
  {
    rule: 'github-token goes to no other repository',
    inputs: { context: 'https://github.com/octo/other.git', 'github-token': 'ghs_1' },
    expected: ['build', ...IID, ...DEFAULT, 'https://github.com/octo/other.git'],
  },
  {
    rule: 'github-token goes with no folder',
    inputs: { context: '.', 'github-token': 'ghs_1' },
    expected: build(),
  },
  {
    rule: 'a GIT_AUTH_TOKEN among secrets comes before github-token',
    inputs: { tags: 'a', secrets: 'GIT_AUTH_TOKEN=mine', 'github-token': 'ghs_1' },
    expected: ['build', ...IID, ...DEFAULT, '--secret', 'id=GIT_AUTH_TOKEN,value=mine', '--tag', 'a', GIT],
  },
  {
    rule: 'github-token is for the server of the job',
    inputs: { tags: 'a', 'github-token': 'ghs_1' },
    env: { GITHUB_SERVER_URL: 'https://ghe.example.com:8443', BUILDX_NO_DEFAULT_ATTESTATIONS: 'true' },
    expected: [
      'build',
      ...IID,
      '--secret',
      'id=GIT_AUTH_TOKEN.ghe.example.com:8443,value=ghs_1',
      '--tag',
      'a',
      `https://ghe.example.com:8443/octo/app.git#${SHA}`,
    ],
  },
];
