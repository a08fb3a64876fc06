/** From pool.yaml to every number. Total: an impossible file gets numbers, too; `findImpossible` says that they are. */
import type { Architecture, Cluster, Pool, PoolFile } from '../config/model.ts';
import { sizeAction, sizeDocument } from './action.ts';
import { sizeAutoscaler } from './autoscaler.ts';
import { sizeBalancer } from './balancer.ts';
import { sizeBuilder } from './builder.ts';
import { sizeCertificates } from './certificates.ts';
import { derived } from './derived.ts';
import { sizeDrain } from './drain.ts';
import { mostBuilders, sizeLine } from './line.ts';
import type { ArchitectureSizing, PoolSizing, Sizing } from './model.ts';
import { architectureNames, poolNames } from './names.ts';
import { sizeNodePools } from './node-pools.ts';
import { sizeShrink } from './shrink.ts';

export function sizeFile(file: PoolFile): Sizing {
  return { cluster: file.cluster, pools: file.pools.map((pool) => sizePool(pool, file.cluster)) };
}

function sizePool(pool: Pool, cluster: Cluster): PoolSizing {
  const architectures = pool.architectures.map((architecture) =>
    sizeArchitecture(pool, architecture, cluster),
  );
  return {
    pool,
    names: poolNames(pool, cluster),
    balancer: sizeBalancer(pool, architectures),
    action: sizeAction(architectures),
    document: sizeDocument(pool),
    certificates: sizeCertificates(pool, cluster, architectures),
    architectures,
  };
}

function sizeArchitecture(pool: Pool, architecture: Architecture, cluster: Cluster): ArchitectureSizing {
  const builder = sizeBuilder(architecture, pool.cache);
  const nodePools = sizeNodePools(pool, architecture, builder, cluster);
  const autoscaler =
    pool.autoscaling === 'off' ? null : sizeAutoscaler(pool.scaleDown, architecture, cluster);
  const most = mostBuilders(architecture);
  return {
    name: architecture.name,
    architecture,
    names: architectureNames(pool, architecture, cluster),
    line: sizeLine(pool, architecture),
    builder,
    drain: sizeDrain(pool.scaleDown, architecture),
    autoscaler,
    replicas: pool.autoscaling === 'off' ? derived(architecture.replicas ?? 0, '`replicas`') : null,
    shrink: autoscaler === null ? null : sizeShrink(architecture, autoscaler, nodePools),
    nodePools,
    maxUnavailable: derived(
      Math.max(1, Math.floor(most / 10)),
      'a tenth, at least one: who drains a node waits for its builds, and the pool stays usable',
    ),
    unreachableAfterSeconds: derived(
      600,
      'a node that is only restarted is back by then; after that its ordinals are blocked until somebody acts',
    ),
  };
}
