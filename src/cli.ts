/** Entry of `buildkit-pool`: wires the commands to the real world. */
import { join } from 'node:path';
import { Command, CommanderError } from 'commander';
import { addBurstCommand } from './burst/command.ts';
import { addGatherCommand } from './burst/gather-command.ts';
import { addUpCommand } from './local/command.ts';
import { addPoolCommands } from './pool/command.ts';

const EXIT_FAILURE = 1;
const EXIT_USAGE = 2;

const program = new Command('buildkit-pool')
  .description(
    'A shared, autoscaled pool of BuildKit builders in which every build waits its turn in one fair line',
  )
  .exitOverride()
  .showHelpAfterError(false);
addUpCommand(program);
addBurstCommand(program, actionFolder());
addGatherCommand(program);
addPoolCommands(program);

try {
  await program.parseAsync();
} catch (error) {
  process.exitCode = report(error);
}

/** One error, without a stack: what the person can act on is in the message. */
function report(error: unknown): number {
  if (error instanceof CommanderError) {
    // Commander has printed its own message already; help and version are no errors.
    return error.exitCode === 0 ? 0 : EXIT_USAGE;
  }
  const usage = error instanceof Error && error.name === 'UsageError';
  console.error(`buildkit-pool: ${error instanceof Error ? error.message : String(error)}`);
  return usage ? EXIT_USAGE : EXIT_FAILURE;
}

/** The bundled Action lies beside the bundled command; run from its sources, the command uses the bundle. */
function actionFolder(): string {
  return import.meta.filename.endsWith('.ts') ? join(import.meta.dirname, '../dist') : import.meta.dirname;
}
