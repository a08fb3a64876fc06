/** `buildkit-pool render`, `explain` and `validate`: what follows from a pool.yaml. */
import type { Command } from 'commander';

export interface PoolArguments {
  readonly pool: string;
}

export interface RenderArguments extends PoolArguments {
  readonly out: string;
  readonly check?: true;
  readonly against?: string;
}

/** What these commands do is loaded when one of them runs: the other commands start without it. */
export function addPoolCommands(program: Command): void {
  const command = (name: string, description: string) =>
    program.command(name).description(description).option('--pool <file>', 'the pool file', 'pool.yaml');
  command('render', 'write all manifests of a pool file')
    .requiredOption('--out <folder>', 'where they go: one object a file, and kustomization.yaml')
    .option('--check', 'write nothing; fail when the folder is not what the pool file gives')
    .option('--against <folder>', 'tell what applying them over those of this folder does to builds')
    .action(async (given: RenderArguments) => (await load()).runRender(given));
  command('explain', 'print every number that follows from a pool file, each with its reason').action(
    async (given: PoolArguments) => (await load()).runExplain(given),
  );
  command('validate', 'tell everything that is wrong with a pool file, or risky').action(
    async (given: PoolArguments) => (await load()).runValidate(given),
  );
}

function load() {
  return import('./run-command.ts');
}
