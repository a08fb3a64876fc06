import { ensurePrograms } from '../src/local/programs.ts';

console.log(
  await ensurePrograms(
    ['haproxy', 'runc', 'busybox', 'buildkitd', 'buildctl', 'buildx', 'buildx-oldest', 'setpriv', 'unshare'],
    { install: true, log: console.error },
  ),
);
