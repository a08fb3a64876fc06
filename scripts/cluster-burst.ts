// Many real builds at once, through the bundled Action, on a pool that runs already: what e2e-kind.yml asks of a cluster.
//   node scripts/cluster-burst.ts --endpoint tcp://10.96.0.7:1234 --builds 12 --seconds 20
// Ends with 1 when a build did not succeed, or when one that joined later was served much earlier.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { runAction } from '../src/burst/action-child.ts';
import { prepareWorkspace } from '../src/burst/workspace.ts';
import { hostArchitecture } from '../src/local/architecture.ts';
import { readArguments } from '../src/local/arguments.ts';
import { waitForStopSignal } from '../src/local/command.ts';
import { ensurePrograms } from '../src/local/programs.ts';
import type { Report } from '../src/report/report.ts';

/** A place counts ticks of 256 ms, and a new builder's report may be a moment late. */
const TOLERANCE_MS = 2_000;

const { values } = parseArgs({
  options: {
    endpoint: { type: 'string' },
    builds: { type: 'string', default: '12' },
    seconds: { type: 'string', default: '20' },
    'queue-timeout': { type: 'string', default: '20m' },
  },
});
const reader = readArguments();
const builds = reader.readInteger('--builds', values.builds, 1, 200);
const seconds = reader.readInteger('--seconds', values.seconds, 0, 3600);
if (values.endpoint === undefined)
  reader.refuse('--endpoint: expected an address such as tcp://10.96.0.7:1234');
reader.finish();

const programs = await ensurePrograms(['busybox', 'buildx', 'setpriv'], {
  install: true,
  log: (line) => console.error(line),
});
const stop = new AbortController();
void waitForStopSignal().then(() => stop.abort());
const folder = await mkdtemp(join(tmpdir(), 'burst-'));
try {
  const { context, path } = await prepareWorkspace(folder, programs, seconds);
  const reports = await Promise.all(
    Array.from({ length: builds }, async (_, index): Promise<Report | null> => {
      const { report, log } = await runAction({
        actionFolder: resolve('dist'),
        setpriv: programs.setpriv,
        folder: join(folder, `build-${index}`),
        workspace: context,
        path,
        arch: hostArchitecture(),
        inputs: {
          endpoint: values.endpoint ?? '',
          context: '.',
          'build-args': `ID=${Date.now()}-${index}`,
          'queue-timeout': values['queue-timeout'],
        },
        signal: stop.signal,
        onStarted: () => {},
        onEnded: () => {},
      });
      if (report?.outcome !== 'succeeded') console.error(`build ${index} failed:\n${log}`);
      return report;
    }),
  );
  process.exitCode = judge(reports) ? 0 : 1;
} finally {
  await rm(folder, { recursive: true, force: true });
}

function judge(reports: readonly (Report | null)[]): boolean {
  const served = reports
    .filter((report) => report !== null && report.granted_at !== null)
    .map((report) => ({
      joinedMs: Date.parse(report?.joined_at ?? ''),
      grantedMs: Date.parse(report?.granted_at ?? ''),
    }))
    .sort((left, right) => left.joinedMs - right.joinedMs);
  const overtaken = served.filter((one, index) =>
    served
      .slice(index + 1)
      .some(
        (later) =>
          later.joinedMs - one.joinedMs > TOLERANCE_MS && one.grantedMs - later.grantedMs > TOLERANCE_MS,
      ),
  );
  const succeeded = reports.filter((report) => report?.outcome === 'succeeded').length;
  const waits = served.map(({ joinedMs, grantedMs }) => grantedMs - joinedMs);
  console.log(
    `${succeeded} of ${reports.length} builds succeeded, the longest wait was ${Math.round(Math.max(0, ...waits) / 1000)} s, ${overtaken.length} overtaken`,
  );
  return succeeded === reports.length && overtaken.length === 0;
}
