import { chmodSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';

/**
 * A `buildx` on PATH that is the real one but stops where a test wants it: before it starts a build, or after the
 * build has ended and before its exit code is given, or gives another one. `docker buildx` leads here too.
 */
export class BuildxAtWill {
  readonly folder = mkdtempSync(join(tmpdir(), 'bin-'));

  constructor(
    options: {
      holdBefore?: boolean;
      holdAfter?: boolean;
      exitCode?: number;
      version?: string;
      real?: string;
    } = {},
  ) {
    const real = options.real ?? process.env['BUILDX'] ?? 'buildx';
    const hold = (name: string) =>
      `echo "$$" >> "${this.folder}/${name}.reached"; while [ ! -e "${this.folder}/${name}.go" ]; do sleep 0.05; done`;
    const script = [
      '#!/bin/sh',
      options.version === undefined
        ? ''
        : `if [ "$1" = version ]; then echo "github.com/docker/buildx v${options.version} 0000000"; exit 0; fi`,
      `if [ "$1" != build ]; then exec "${real}" "$@"; fi`,
      `echo "$$" >> "${this.folder}/runs"`,
      options.holdBefore ? hold('before') : '',
      `"${real}" "$@"; code=$?`,
      options.holdAfter ? hold('after') : '',
      `exit ${options.exitCode ?? '$code'}`,
      '',
    ].join('\n');
    this.#program('buildx', script);
    this.#program(
      'docker',
      `#!/bin/sh\nif [ "$1" = buildx ]; then shift; exec "${this.folder}/buildx" "$@"; fi\nexit 127\n`,
    );
  }

  get env(): NodeJS.ProcessEnv {
    return { PATH: `${this.folder}${delimiter}${process.env['PATH']}` };
  }

  /** Whether a build has come to the point where it is held. */
  reached(point: 'before' | 'after'): boolean {
    return existsSync(join(this.folder, `${point}.reached`));
  }

  release(point: 'before' | 'after'): void {
    writeFileSync(join(this.folder, `${point}.go`), '');
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }

  #program(name: string, script: string): void {
    const path = join(this.folder, name);
    writeFileSync(path, script);
    chmodSync(path, 0o755);
  }
}
