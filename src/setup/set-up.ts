/** Main's part of set-up mode: starts the gateway process and makes a builder that leads to it. */
import { basename } from 'node:path';
import type { Buildx } from '../build/buildx.ts';
import { orAborted } from '../or-aborted.ts';
import type { ProcessIdentity } from '../process-identity.ts';
import { ASSUMED_BUILDKIT_VERSION } from './assumed-version.ts';
import { planRegistration, type RegisteredNode, register, unregister } from './builder-registration.ts';
import { endGateway, type GatewayProcess, startGateway } from './gateway-process.ts';
import type { LinesOptions } from './lines.ts';
import type { SetupState } from './setup-state.ts';
import { DEFAULT_LINGER_MS, type SetupWork } from './setup-work.ts';

export interface SetupWorld {
  readonly env: NodeJS.ProcessEnv;
  /** Private, 0700; it stays until post. */
  readonly folder: string;
  readonly buildx: Promise<Buildx>;
  /** The bundle of the gateway process. */
  readonly gatewayEntry: string;
  readonly reportPath: string;
  /** When that process ends, the job is over; undefined where nobody can be watched. */
  readonly runner: ProcessIdentity | undefined;
  /** Gives everything back. */
  readonly signal: AbortSignal;
  /** Told before anything is left that post would have to look for. */
  readonly onState: (state: SetupState) => void;
}

/** Where to look for builders, and for how long; a part of every plan. */
export type Search = Pick<LinesOptions, 'nodes' | 'queueTimeoutMs' | 'connectTimeoutMs' | 'backoff'> & {
  /** What the pool says of it, ms. */
  readonly lingerMs?: number | undefined;
};

/** The builder that later steps find. */
export interface SetUpBuilder {
  readonly name: string;
  readonly nodes: readonly RegisteredNode[];
}

/** Rejects when it can't be done, with nothing left behind. No place in line is taken yet. */
export async function setUp(work: SetupWork, search: Search, world: SetupWorld): Promise<SetUpBuilder> {
  const { nodes, queueTimeoutMs, connectTimeoutMs, backoff } = search;
  const { env, folder, reportPath, signal } = world;
  const buildx = await world.buildx;
  await buildx.accept();
  const name = work.name ?? `pool-${basename(folder).replace(/^.*-/, '').toLowerCase()}`;
  const registration = await planRegistration({ name, use: work.use, folder, buildx, env });
  const state: SetupState = {
    gateway: undefined,
    registration,
    cleanup: work.cleanup,
    previousBuilder: work.use ? (env['BUILDX_BUILDER'] ?? '') : undefined,
    reportPath,
  };
  world.onState(state);
  let gateway: GatewayProcess | undefined;
  try {
    signal.throwIfAborted();
    gateway = await startGateway(
      world.gatewayEntry,
      {
        nodes,
        folder,
        hold: work.hold,
        lingerMs: work.lingerMs ?? search.lingerMs ?? DEFAULT_LINGER_MS,
        queueTimeoutMs,
        connectTimeoutMs,
        backoff,
        assumedVersion: ASSUMED_BUILDKIT_VERSION,
        reportPath,
        runner: world.runner,
        registration: work.cleanup ? registration : undefined,
        builder: name,
      },
      env,
    );
    world.onState({ ...state, gateway: gateway.identity });
    const addresses = await orAborted(gateway.addresses, signal);
    const registered = nodes.map((node, index) => ({
      name: `${name}${index}`,
      address: addresses[index] ?? '',
      platforms: node.platforms,
    }));
    await register(registration, registered, env, signal);
    return { name, nodes: registered };
  } catch (error) {
    if (gateway !== undefined) await endGateway(gateway.identity);
    await unregister(registration, env).catch(() => {});
    throw error;
  }
}
