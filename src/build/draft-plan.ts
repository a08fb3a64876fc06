/** From what the inputs say to a plan: the rest comes from the pool document, or from what is usual. */
import type { PoolArchitecture, PoolDocument } from '../pool-document/document.ts';
import { DIAL_BACKOFF } from '../queue/backoff.ts';
import { parseEndpoint } from '../queue/endpoint.ts';
import { CONNECT_TIMEOUT_MS } from '../queue/line.ts';
import type { TlsMaterial } from '../queue/tls.ts';
import {
  ARCHITECTURES,
  type Arch,
  NATIVE_PLATFORMS,
  type Platform,
  parsePlatform,
  serves,
} from './architecture.ts';
import type { Plan, PlannedNode } from './plan.ts';
import type { Work } from './work.ts';

/** Two hours: longer than any healthy line, shorter than a job's six. */
export const DEFAULT_QUEUE_TIMEOUT_MS = 2 * 3_600_000;

/** What the inputs say; undefined: not given. */
export interface DraftPlan {
  readonly pool: PoolChoice;
  /** Of the machine that this runs on; undefined: one for which there are no builders. */
  readonly runnerArch: Arch | undefined;
  /** As asked for; empty: the runner's own. */
  readonly platforms: readonly Platform[];
  readonly tls: TlsMaterial | undefined;
  readonly queueTimeoutMs: number | undefined;
  readonly connectTimeoutMs: number | undefined;
  readonly lostBuilderRetries: number;
  /** Whether this machine's own engine builds when the pool can't be had. */
  readonly fallback: 'none' | 'local';
  readonly buildxVersion: string | undefined;
  readonly work: Work;
  readonly warnings: readonly string[];
}

export type PoolChoice =
  | { readonly kind: 'endpoint'; readonly endpoint: EndpointTemplate }
  /** `endpoint`: what to do without a document. */
  | { readonly kind: 'document'; readonly url: string; readonly endpoint: EndpointTemplate | undefined };

/** An endpoint in which `{arch}` stands for the architecture. */
export interface EndpointTemplate {
  readonly text: string;
  /** The input or variable that it comes from. */
  readonly from: string;
}

/** What is wrong: one whole message each, the name of an input first. */
export class PlanProblems extends Error {
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(problems.join('\n'));
    this.name = 'PlanProblems';
    this.problems = problems;
  }
}

/** For a pool of which nothing is known, because its document was not had: the fallback's plan. */
export function planWithoutPool(draft: DraftPlan, reason: string): Plan {
  return { ...settleRest(draft, undefined), nodes: [], unreached: reason };
}

/** @throws PlanProblems when the pool has no builder for a platform, or none for this machine. */
export function settlePlan(draft: DraftPlan, document: PoolDocument | undefined): Plan {
  const nodes = document === undefined ? nodesOfTemplate(draft) : nodesOfDocument(draft, document);
  return { ...settleRest(draft, document), nodes };
}

function settleRest(draft: DraftPlan, document: PoolDocument | undefined): Omit<Plan, 'nodes'> {
  return {
    queueTimeoutMs:
      draft.queueTimeoutMs ??
      (document === undefined ? DEFAULT_QUEUE_TIMEOUT_MS : document.queue_timeout_s * 1000),
    connectTimeoutMs:
      draft.connectTimeoutMs ??
      (document === undefined ? CONNECT_TIMEOUT_MS : document.connect_timeout_s * 1000),
    backoff:
      document === undefined
        ? DIAL_BACKOFF
        : { baseMs: document.redial.base_ms, capMs: document.redial.cap_ms },
    lingerMs: document === undefined ? undefined : document.linger_s * 1000,
    lostBuilderRetries: draft.lostBuilderRetries,
    metrics: document?.metrics ?? undefined,
    fallback: draft.fallback,
    buildxVersion: draft.buildxVersion,
    work: draft.work,
    warnings: draft.warnings,
  };
}

/** A line that could be waited in. */
interface Offer {
  readonly arch: Arch;
  readonly platforms: readonly Platform[];
  readonly node: Omit<PlannedNode, 'platforms'>;
}

function nodesOfTemplate(draft: DraftPlan): readonly PlannedNode[] {
  const { endpoint: template } = draft.pool;
  if (template === undefined) throw new PlanProblems(['neither a pool document nor `endpoint` is there']);
  const offer = (arch: Arch): Offer => {
    const result = parseEndpoint(template.text, arch);
    if (result.kind === 'problem')
      throw new PlanProblems([
        `\`${template.from}\` is ${JSON.stringify(template.text.replace(/\/\/[^@/]*@/, '//***@'))}: ${result.problem}`,
      ]);
    return {
      arch,
      platforms: NATIVE_PLATFORMS[arch].flatMap((text) => parsePlatform(text) ?? []),
      node: {
        arch,
        endpoint: result.endpoint,
        builds: [`linux/${arch}`],
        tls: draft.tls,
        proxies: undefined,
        maxBuilders: undefined,
      },
    };
  };
  // An address without {arch} is one line, whose builders build whatever they can.
  if (!template.text.includes('{arch}')) {
    const arch = archOfAll(draft.platforms) ?? draft.runnerArch ?? 'amd64';
    const platforms = draft.platforms.map(({ text }) => text);
    return [planNode(offer(arch), platforms)];
  }
  return choose(draft, ARCHITECTURES.map(offer), 'the endpoint');
}

/** The one architecture that runs all of them natively, if there is one. */
function archOfAll(platforms: readonly Platform[]): Arch | undefined {
  if (platforms.length === 0) return undefined;
  return ARCHITECTURES.find((arch) => {
    const natives = NATIVE_PLATFORMS[arch].flatMap((text) => parsePlatform(text) ?? []);
    return platforms.every((wanted) => natives.some((offered) => serves(offered, wanted)));
  });
}

/** `asked`: those of the platforms asked for that are built there. */
function planNode({ node }: Offer, asked: readonly string[]): PlannedNode {
  return { ...node, platforms: asked, builds: asked.length > 0 ? asked : node.builds };
}

function nodesOfDocument(draft: DraftPlan, document: PoolDocument): readonly PlannedNode[] {
  const offers = document.architectures.flatMap((entry) => offerOf(draft, entry) ?? []);
  return choose(draft, offers, `the pool ${document.name}`);
}

/** An architecture that this version does not know is none that it could ask for. */
function offerOf(draft: DraftPlan, entry: PoolArchitecture): Offer | undefined {
  const arch = ARCHITECTURES.find((known) => known === entry.arch);
  const result = parseEndpoint(entry.endpoint, entry.arch);
  if (arch === undefined || result.kind === 'problem') return undefined;
  return {
    arch,
    platforms: entry.platforms.flatMap((text) => parsePlatform(text) ?? []),
    node: {
      arch,
      endpoint: result.endpoint,
      builds: entry.platforms,
      tls: tlsOf(draft, entry),
      proxies: entry.proxies ?? undefined,
      maxBuilders: entry.max_builders,
    },
  };
}

function tlsOf({ pool, tls }: DraftPlan, entry: PoolArchitecture): TlsMaterial | undefined {
  if (entry.tls !== null) return { serverName: entry.tls.server_name, ...tls };
  // A CA alone may be there for the document's own server: the document says that the line speaks no TLS.
  const forDocument = pool.kind === 'document' && pool.url.startsWith('https:');
  return forDocument && tls?.cert === undefined && tls?.serverName === undefined ? undefined : tls;
}

function choose(draft: DraftPlan, offers: readonly Offer[], pool: string): readonly PlannedNode[] {
  const inOrder = offers.toSorted((a, b) => ARCHITECTURES.indexOf(a.arch) - ARCHITECTURES.indexOf(b.arch));
  const list = inOrder.flatMap((offer) => offer.platforms.map(({ text }) => text)).join(', ');
  if (draft.platforms.length === 0) {
    const own = inOrder.find((offer) => offer.arch === draft.runnerArch);
    if (own === undefined) {
      throw new PlanProblems([
        `${pool} has no builders for this runner's architecture (${draft.runnerArch ?? 'not one that pools serve'}): name one of ${list} in \`platforms\``,
      ]);
    }
    return [planNode(own, [])];
  }
  const problems: string[] = [];
  const wanted = new Map<Offer, string[]>();
  for (const platform of draft.platforms) {
    const offer = inOrder.find(({ platforms }) => platforms.some((offered) => serves(offered, platform)));
    if (offer === undefined) {
      problems.push(
        `\`platforms\` holds ${JSON.stringify(platform.text)}, which ${pool} has no builders for: it builds ${list}`,
      );
    } else wanted.set(offer, [...(wanted.get(offer) ?? []), platform.text]);
  }
  if (problems.length > 0) throw new PlanProblems(problems);
  return inOrder.flatMap((offer) => {
    const platforms = wanted.get(offer);
    return platforms === undefined ? [] : [planNode(offer, platforms)];
  });
}
