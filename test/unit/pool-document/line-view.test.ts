import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  describeLine,
  LinePosition,
  type LineSample,
  readLine,
} from '../../../src/pool-document/line-view.ts';
import { parseMetrics } from '../../../src/pool-document/metrics.ts';

describe('Prometheus’ text', () => {
  const label = fc.tuple(
    fc.stringMatching(/^[a-z_][a-z0-9_]{0,8}$/),
    fc.string({ unit: 'grapheme' }).filter((text) => !text.includes('\n') && !text.includes('\r')),
  );
  const sample = fc.record({
    name: fc.stringMatching(/^[a-z_:][a-z0-9_:]{0,12}$/),
    labels: fc.uniqueArray(label, { selector: ([name]) => name, maxLength: 4 }),
    value: fc.oneof(fc.integer(), fc.double({ noNaN: true })),
  });
  const escaped = (text: string) => text.replaceAll('\\', '\\\\').replaceAll('"', '\\"');

  test('what is written is read', () => {
    fc.assert(
      fc.property(fc.array(sample), (samples) => {
        const page = samples.map(({ name, labels, value }) => {
          const list = labels.map(([key, text]) => `${key}="${escaped(text)}"`).join(',');
          const number = Number.isFinite(value) ? String(value) : value > 0 ? '+Inf' : '-Inf';
          return `# TYPE ${name} gauge\n${name}${list === '' ? '' : `{${list}}`} ${number}`;
        });
        expect(parseMetrics(page.join('\n'))).toEqual(
          samples.map(({ name, labels, value }) => ({
            name,
            labels: new Map(labels),
            value: value === 0 ? expect.closeTo(0) : value,
          })),
        );
      }),
    );
  });

  test('lines that can’t be read are passed over, however they are broken', () => {
    expect(
      parseMetrics('a 1\nb{ 2\nc{x="1" 3\nd{x=1} 4\ne five\n\nf{x="a\\"b\\\\n\\n"} 6 1700000000'),
    ).toEqual([
      { name: 'a', labels: new Map(), value: 1 },
      { name: 'f', labels: new Map([['x', 'a"b\\n\n']]), value: 6 },
    ]);
    fc.assert(fc.property(fc.string(), (page) => void parseMetrics(page)));
  });
});

/** As HAProxy 2.6.12 and 3.4.0 write it: two busy builders, three builds that wait, and the load balancer's own session. */
const PAGE = `# HELP haproxy_frontend_current_sessions Current number of sessions.
# TYPE haproxy_frontend_current_sessions gauge
haproxy_frontend_current_sessions{proxy="amd64"} 5
haproxy_frontend_current_sessions{proxy="plug_amd64"} 1
haproxy_frontend_sessions_total{proxy="amd64"} 17
haproxy_backend_current_queue{proxy="builders_amd64"} 3
haproxy_backend_current_sessions{proxy="builders_amd64"} 6
haproxy_backend_active_servers{proxy="builders_amd64"} 3
haproxy_backend_agg_server_status{proxy="builders_amd64",state="UP"} 3
`;

test('one line of the load balancer’s', () => {
  expect(readLine(PAGE, { frontend: 'amd64', backend: 'builders_amd64' })).toEqual({
    queued: 3,
    demand: 5,
    busy: 2,
    ready: 2,
    arrivals: 17,
  });
  expect(readLine(PAGE, { frontend: 'arm64', backend: 'builders_arm64' })).toBeUndefined();
});

test('what a person reads', () => {
  const sample: LineSample = { queued: 6, demand: 14, busy: 8, ready: 8, arrivals: 20 };
  expect(describeLine(sample, 4, 10)).toBe('about 4th in line · 8 of 8 builders busy, 2 more starting');
  expect(describeLine(sample, 1, undefined)).toBe('about 1st in line · 8 of 8 builders busy');
  expect(describeLine({ ...sample, busy: 0, ready: 0, demand: 3 }, 22, 10)).toBe(
    'about 22nd in line · no builder yet, 3 more starting',
  );
  expect(
    [2, 3, 11, 12, 13, 101, 113].map((position) => describeLine(sample, position, 0).split(' ')[1]),
  ).toEqual(['2nd', '3rd', '11th', '12th', '13th', '101st', '113th']);
});

describe('the position', () => {
  type Event = 'arrive' | 'serve' | 'look';

  test('is exact while nobody else goes away, whatever comes and is served meanwhile', () => {
    const events = fc.array(fc.constantFrom<Event>('arrive', 'serve', 'look'), { maxLength: 60 });
    fc.assert(
      fc.property(fc.nat(20), fc.nat(1_000), events, (ahead, before, course) => {
        const seen = new LinePosition();
        let position = ahead + 1;
        let queued = ahead + 1;
        let arrivals = before + ahead + 1;
        const look = () => seen.see({ queued, arrivals, demand: queued, busy: 0, ready: 0 });
        expect(look()).toBe(position);
        for (const event of course) {
          if (event === 'arrive') {
            queued += 1;
            arrivals += 1;
          } else if (event === 'serve' && position > 1) {
            queued -= 1;
            position -= 1;
          } else if (event === 'look') expect(look()).toBe(position);
        }
      }),
    );
  });

  test('never goes back, never falls below the next, and survives a load balancer that counts anew', () => {
    const sample = fc.record({ queued: fc.nat(50), arrivals: fc.nat(50) });
    fc.assert(
      fc.property(fc.array(sample, { minLength: 1 }), (samples) => {
        const seen = new LinePosition();
        let last = Number.POSITIVE_INFINITY;
        for (const { queued, arrivals } of samples) {
          const position = seen.see({ queued, arrivals, demand: 0, busy: 0, ready: 0 });
          expect(position).toBeGreaterThanOrEqual(1);
          expect(position).toBeLessThanOrEqual(Math.max(last, 1));
          last = position;
        }
      }),
    );
  });
});
