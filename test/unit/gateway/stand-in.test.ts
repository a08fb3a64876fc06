import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import { PoolStandIn, type Request } from '../../../src/gateway/stand-in.ts';
import { encodeInfo, encodeWorkers, infoOfWorkers, type Worker } from '../../../src/gateway/worker-record.ts';

const ASSUMED: Worker = {
  id: 'pool-amd64',
  labels: { state: 'none yet' },
  platforms: ['linux/amd64'],
  buildkitVersion: 'v0.32.2',
};
const control = (method: string) => `/moby.buildkit.v1.Control/${method}`;
const request = (path: string, marks: Partial<Request> = {}): Request => ({
  path,
  hasDeadline: false,
  traced: false,
  ...marks,
});

describe('without a builder', () => {
  it.each<[string, Request, string]>([
    [
      'the ListWorkers of inspect, create, ls',
      request(control('ListWorkers'), { hasDeadline: true }),
      'reply',
    ],
    ['the Info of inspect', request(control('Info'), { hasDeadline: true }), 'reply'],
    ['the ListWorkers of build and bake', request(control('ListWorkers'), { traced: true }), 'hold'],
    ['the ListWorkers of history', request(control('ListWorkers')), 'reply'],
    ['a traced inspect', request(control('ListWorkers'), { traced: true, hasDeadline: true }), 'reply'],
    ['Solve', request(control('Solve'), { traced: true }), 'hold'],
    ['DiskUsage', request(control('DiskUsage')), 'hold'],
    ['Prune', request(control('Prune')), 'hold'],
    ['records', request(control('ListenBuildHistory')), 'refuse'],
    ['a change of a record', request(control('UpdateBuildHistory')), 'refuse'],
    ['what a record refers to', request('/containerd.services.content.v1.Content/Read'), 'refuse'],
    [
      'the farewell of a client that gave up',
      request('/opentelemetry.proto.collector.trace.v1.TraceService/Export', { hasDeadline: true }),
      'reply',
    ],
  ])('%s', (_, asked, kind) => {
    expect(new PoolStandIn(ASSUMED).answer(asked).kind).toBe(kind);
  });

  it('what a builder has told is told on, its version too', () => {
    const standIn = new PoolStandIn(ASSUMED);
    const real = encodeWorkers({
      ...ASSUMED,
      platforms: ['linux/amd64', 'linux/386'],
      buildkitVersion: 'v0.26.3',
    });
    standIn.heard(real);
    expect(standIn.answer(request(control('ListWorkers')))).toEqual({ kind: 'reply', message: real });
    expect(standIn.answer(request(control('Info')))).toEqual({
      kind: 'reply',
      message: encodeInfo('v0.26.3'),
    });
  });

  it('an answer without a version is not told on: the default provenance hangs on it', () => {
    const standIn = new PoolStandIn(ASSUMED);
    standIn.heard(Buffer.from('0a0412024944', 'hex'));
    standIn.heard(Buffer.alloc(0));
    expect(standIn.answer(request(control('Info')))).toEqual({
      kind: 'reply',
      message: encodeInfo('v0.32.2'),
    });
  });
});

test('the messages are those of BuildKit’s own types', () => {
  // As google.golang.org/protobuf writes the same values with the types of moby/buildkit 0.32.2.
  const info = '0a1e0a186769746875622e636f6d2f6d6f62792f6275696c646b697412027631';
  expect(encodeInfo('v1').toString('hex')).toBe(info);
  const worker = { id: 'i', labels: { a: 'b' }, platforms: ['linux/arm/v7'], buildkitVersion: 'v1' };
  expect(encodeWorkers(worker).toString('hex')).toBe(
    `0a3d0a016912060a01611201621a100a0361726d12056c696e75781a0276372a1e${info.slice(4)}`,
  );
});

test('reading is the reverse of writing, and never throws, whatever it is given', () => {
  const word = fc.string({ maxLength: 300 });
  fc.assert(
    fc.property(
      word,
      fc.dictionary(word, word),
      fc.array(word),
      word,
      (id, labels, platforms, buildkitVersion) => {
        const workers = encodeWorkers({ id, labels, platforms, buildkitVersion });
        expect(infoOfWorkers(workers)?.equals(encodeInfo(buildkitVersion))).toBe(true);
      },
    ),
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      infoOfWorkers(Buffer.from(bytes));
    }),
    { numRuns: 2_000 },
  );
});
