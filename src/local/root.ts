/** Builders mount file systems and start containers: what runs them on this machine does it as root. */
import { accessSync, constants } from 'node:fs';
import { delimiter, isAbsolute, join } from 'node:path';

/**
 * Goes on as root: as another user, this process becomes the same command under sudo, with the same environment,
 * terminal and process id, so that signals and the exit code are its own. Returns at once where we are root already.
 * @throws Error that says what to do where there is no sudo, or no Node.js that can do it.
 */
export function becomeRoot(): void {
  if (process.getuid?.() === 0) return;
  const sudo = findSudo(process.env['PATH'] ?? '');
  if (sudo === undefined || process.execve === undefined) {
    throw new Error(
      'Builders on this machine need root: run the same command as root, or with `sudo -E env "PATH=$PATH"` before it',
    );
  }
  console.error('Builders on this machine need root: going on with sudo');
  // PATH and HOME are what sudo's own rules would replace: programs and the cache are the user's.
  const kept = ['PATH', 'HOME'].map((name) => `${name}=${process.env[name] ?? ''}`);
  const args = ['sudo', '--preserve-env', 'env', ...kept, process.execPath, ...process.execArgv];
  process.execve(sudo, [...args, ...process.argv.slice(1)], process.env);
}

function findSudo(path: string): string | undefined {
  const candidates = path.split(delimiter).filter(isAbsolute);
  return candidates
    .map((folder) => join(folder, 'sudo'))
    .find((file) => {
      try {
        accessSync(file, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}
