/** The door for clients that know nothing of this project, on a real buildctl and buildkitd. About half a minute. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test, vi } from 'vitest';
import { serverNameOf } from '../../support/balancer-model.ts';
import { makeSleepContext } from '../../support/local-pool.ts';
import { Rig } from '../../support/server-line.ts';

const WAIT = { timeout: 60_000, interval: 50 };
/** Of a machine that has much else to do. */
vi.setConfig({ testTimeout: 240_000, hookTimeout: 180_000 });

test('plain buildctl, which knows nothing of lines, waits longer than its 20 s at the early door and builds', async () => {
  await using rig = await Rig.open({
    pools: [{ name: 'plain', ceiling: 1 }],
    tls: true,
    earlySettings: true,
  });
  const balancer = await rig.startBalancer();
  const pair = await rig.builderPair('plain');
  await rig.startBuilder('plain', 0, pair);
  rig.announce('plain', 0);
  // On 2.6 a build that waits for its builder to come up is not counted, and buildctl does not dial again.
  await expect.poll(() => balancer.usable('plain'), WAIT).toBe(1);
  const blocker = rig.join('blocker', rig.door('plain'));
  await blocker.granted;
  const context = makeSleepContext(rig.folder, 1);
  const { BUILDCTL: buildctl = 'buildctl' } = process.env;
  const client = rig.client;
  if (client === null) throw new Error('no certificate');
  const build = spawn(
    buildctl,
    [
      ...['--addr', `tcp://${rig.address}:${rig.earlyDoor('plain').port}`],
      ...['--tlsservername', serverNameOf('plain'), '--tlscacert', client.caPath],
      ...['--tlscert', client.certificatePath, '--tlskey', client.keyPath],
      ...['build', '--frontend', 'dockerfile.v0', '--progress', 'plain'],
      ...['--local', `context=${context}`, '--local', `dockerfile=${context}`, '--opt', 'build-arg:ID=early'],
    ],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
  let log = '';
  for (const stream of [build.stdout, build.stderr]) {
    stream.on('data', (chunk) => {
      log += chunk;
    });
  }
  const ended = once(build, 'exit');
  await expect.poll(() => balancer.demand('plain'), WAIT).toBe(2);
  await sleep(24_000);
  expect(build.exitCode, log).toBe(null);
  expect(await balancer.demand('plain')).toBe(2);
  // An aware client at the same door is not deceived by the early greeting.
  const aware = rig.join('aware', rig.earlyDoor('plain'));
  await sleep(500);
  expect(aware.state).toBe('waiting');
  blocker.leave();
  const [code] = await ended;
  expect(code, log).toBe(0);
  await aware.granted;
  aware.leave();
});
