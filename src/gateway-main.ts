/** The detached process of a set-up step: holds places and builders while the job's later steps come and go. */
import { existsSync, renameSync, writeFileSync, writeSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { removeRunFolder } from './action/run-folder.ts';
import { isAlive } from './process-identity.ts';
import { unregister } from './setup/builder-registration.ts';
import {
  type GatewayConfiguration,
  type GatewayGreeting,
  GREETING_FD,
} from './setup/gateway-configuration.ts';
import { Lines } from './setup/lines.ts';
import { addBuilds, type SetupReport } from './setup/setup-report.ts';

/** How often it is looked whether the job is still there. */
const WATCH_MS = 1_000;

const configuration = JSON.parse(await text(process.stdin)) as GatewayConfiguration;
const log = (line: string) => console.log(`${new Date().toISOString()} ${line}`);

let over = false;
let givingBack: Promise<void> | undefined;
let reportDue: NodeJS.Immediate | undefined;
let lines: Lines | undefined;

try {
  lines = await Lines.open({ ...configuration, log, onChange });
  // There from the first moment: a later step may upload it.
  writeReport();
  greet({ kind: 'ready', addresses: lines.addresses });
} catch (error) {
  greet({ kind: 'failed', message: error instanceof Error ? error.message : String(error) });
  process.exit(1);
}

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.on(signal, () => void giveBack(`ended by ${signal}`).then(() => process.exit(0)));
}
// The terminal's, which this process has none of.
process.on('SIGHUP', () => {});
process.on('uncaughtException', (error) => {
  // A builder must not stay with a process that nobody trusts any more.
  log(`failed: ${error.stack ?? error.message}`);
  void giveBack('failed').then(() => process.exit(1));
});
setInterval(() => {
  const gone = whyGone();
  if (gone !== undefined) void abandon(gone);
}, WATCH_MS);

function onChange(): void {
  reportDue ??= setImmediate(() => {
    reportDue = undefined;
    writeReport();
  });
}

/** Why nobody will come any more; undefined while the job lives. */
function whyGone(): string | undefined {
  if (configuration.runner !== undefined && !isAlive(configuration.runner)) return 'the job is gone';
  // The runner empties its temporary folder between two jobs.
  return existsSync(configuration.folder) ? undefined : 'its folder is gone';
}

/** Ends as `post` would have it, and does `post`'s work. */
async function abandon(reason: string): Promise<void> {
  if (over) return;
  await giveBack(reason);
  if (configuration.registration !== undefined) {
    await unregister(configuration.registration, process.env).catch(() => {});
  }
  await removeRunFolder(configuration.folder).catch(() => {});
  process.exit(0);
}

/** Once; whoever asks again waits for the first. */
function giveBack(reason: string): Promise<void> {
  givingBack ??= giveBackOnce(reason);
  return givingBack;
}

async function giveBackOnce(reason: string): Promise<void> {
  over = true;
  log(reason);
  await lines?.close();
  clearImmediate(reportDue);
  writeReport();
}

function writeReport(): void {
  if (lines === undefined) return;
  const report: SetupReport = {
    schema: 'buildkit-pool/setup-report/v1',
    builder: configuration.builder,
    hold: configuration.hold,
    over,
    queue_ms: lines.report.reduce((ms, line) => ms + line.queue_ms, 0),
    builds: addBuilds(lines.report.map((line) => line.builds)),
    lines: lines.report,
  };
  const draft = `${configuration.reportPath}.new`;
  try {
    writeFileSync(draft, `${JSON.stringify(report, undefined, 2)}\n`);
    renameSync(draft, configuration.reportPath);
  } catch (error) {
    // Builders matter more than what is written about them.
    log(`the report could not be written: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function greet(greeting: GatewayGreeting): void {
  try {
    writeSync(GREETING_FD, `${JSON.stringify(greeting)}\n`);
  } catch {
    // Main is gone; the watch over the job decides what comes of that.
  }
}
