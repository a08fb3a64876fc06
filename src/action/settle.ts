import { type DraftPlan, PlanProblems, planWithoutPool, settlePlan } from '../build/draft-plan.ts';
import type { Plan } from '../build/plan.ts';
import type { PoolDocument } from '../pool-document/document.ts';
import { isDocumentFailure } from '../pool-document/failure.ts';
import { loadPoolClient } from '../pool-document/load-client.ts';
import { formatDuration } from './duration.ts';
import { InputProblems } from './inputs.ts';

/** How long a document that can't be had is asked for again: shorter where there is an endpoint to go to instead. */
const PATIENCE_MS = 30_000;
const PATIENCE_WITH_ENDPOINT_MS = 5_000;

/**
 * The plan that a draft becomes once the pool has said the rest. Rejects with a `DocumentFailure` when there is neither
 * a document nor an endpoint, and with `InputProblems` when the pool can't do what is asked for.
 */
export async function settle(
  draft: DraftPlan,
  signal: AbortSignal,
  warn: (message: string) => void,
): Promise<Plan> {
  let document: PoolDocument | undefined;
  try {
    document = await documentOf(draft, signal, warn);
  } catch (error) {
    const away = isDocumentFailure(error) && error.code === 'unreachable';
    if (!away || draft.fallback === 'none') throw error;
    return planWithoutPool(draft, error.message);
  }
  try {
    const plan = settlePlan(draft, document);
    for (const warning of document === undefined ? [] : warningsOf(plan, document)) warn(warning);
    return plan;
  } catch (error) {
    throw error instanceof PlanProblems ? new InputProblems(error.problems) : error;
  }
}

async function documentOf(
  { pool, tls }: DraftPlan,
  signal: AbortSignal,
  warn: (message: string) => void,
): Promise<PoolDocument | undefined> {
  if (pool.kind === 'endpoint') return undefined;
  try {
    const { fetchDocument } = await loadPoolClient();
    const patienceMs = pool.endpoint === undefined ? PATIENCE_MS : PATIENCE_WITH_ENDPOINT_MS;
    return await fetchDocument({ url: pool.url, ca: tls?.ca, patienceMs, signal });
  } catch (error) {
    if (!isDocumentFailure(error) || pool.endpoint === undefined) throw error;
    warn(`${error.message}; going by \`${pool.endpoint.from}\` instead, with the usual deadlines`);
    return undefined;
  }
}

function warningsOf(plan: Plan, document: PoolDocument): readonly string[] {
  return document.architectures
    .filter(({ arch }) => plan.nodes.some((node) => node.arch === arch))
    .filter(({ expected_cold_start_s }) => expected_cold_start_s * 1000 >= plan.queueTimeoutMs)
    .map(
      ({ arch, expected_cold_start_s }) =>
        `\`queue-timeout\` is ${formatDuration(plan.queueTimeoutMs)}, but a new ${arch} builder takes about ${formatDuration(expected_cold_start_s * 1000)} to come: this build fails whenever no builder is free`,
    );
}
