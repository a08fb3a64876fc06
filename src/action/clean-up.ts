import { setTimeout as sleep } from 'node:timers/promises';
import { signalGroup, signalProcess } from '../build/child.ts';
import { isAlive, type ProcessIdentity } from '../process-identity.ts';
import { removeRunFolder } from './run-folder.ts';

/** How long a left-behind main may give its builder back by itself: it takes up to 5 s to end its children. */
const POLITE_MS = 6_000;

export interface CleanUp {
  readonly endedPids: readonly number[];
}

/**
 * Ends and removes what a killed main left: itself (container jobs deliver no signal), the children it had started,
 * its private folder. The first of `processes` is the main, the others lead process groups. `giveBack` is done when
 * nobody goes on making more of it, while the folder is still there.
 */
export async function cleanUp(
  folder: string,
  processes: readonly ProcessIdentity[],
  giveBack: () => Promise<void> = async () => {},
): Promise<CleanUp> {
  const [main, ...leaders] = processes;
  const endedPids: number[] = [];
  try {
    if (main !== undefined && isAlive(main)) {
      endedPids.push(main.pid);
      signalProcess(main.pid, 'SIGTERM');
      const deadline = Date.now() + POLITE_MS;
      while (isAlive(main) && Date.now() < deadline) await sleep(50);
      if (isAlive(main)) signalProcess(main.pid, 'SIGKILL');
    }
    for (const leader of leaders) {
      if (isAlive(leader)) endedPids.push(leader.pid);
      // A leader's number is not used again while its group lives, so a dead leader's group is still its own,
      // unless somebody new has the number.
      if (isAlive(leader) || !isTaken(leader.pid)) signalGroup(leader.pid, 'SIGKILL');
    }
    await giveBack();
  } finally {
    if (folder !== '') await removeRunFolder(folder);
  }
  return { endedPids };
}

function isTaken(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // Somebody else's process is somebody.
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
