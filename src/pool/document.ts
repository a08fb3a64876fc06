/** The pool document of a pool, from its sizing. */
import { NATIVE_PLATFORMS } from '../build/architecture.ts';
import { POOL_DOCUMENT_SCHEMA, type PoolArchitecture, type PoolDocument } from '../pool-document/document.ts';
import { backendName } from './haproxy.ts';
import { imagesOf, versionOf } from './images.ts';
import type { ArchitectureSizing, PoolSizing } from './sizing/model.ts';

/** What `GET /pool.json` answers: every number is the server's own. */
export function describePool(sizing: PoolSizing): PoolDocument {
  const { pool, action, names } = sizing;
  const images = imagesOf(pool);
  const versions = { buildkit: versionOf(images.buildkit), haproxy: versionOf(images.haproxy) };
  return {
    schema: POOL_DOCUMENT_SCHEMA,
    name: pool.name,
    queue_timeout_s: seconds(action.queueTimeoutMs.value),
    connect_timeout_s: seconds(action.connectTimeoutMs.value),
    redial: { base_ms: action.backoffBaseMs.value, cap_ms: action.backoffCapMs.value },
    linger_s: seconds(action.lingerMs.value),
    metrics:
      // Its Service is the cluster's own.
      pool.exposure.service === 'cluster'
        ? { url: `${names.balancerUrl}/metrics`, interval_s: seconds(action.metricsIntervalMs.value) }
        : null,
    architectures: sizing.architectures.map(describeArchitecture),
    versions: Object.fromEntries(
      Object.entries(versions).filter((entry): entry is [string, string] => entry[1] !== null),
    ),
  };
}

function describeArchitecture({ name, architecture, names, line }: ArchitectureSizing): PoolArchitecture {
  return {
    arch: name,
    platforms: NATIVE_PLATFORMS[name],
    endpoint: line.endpoint.value,
    max_builders: architecture.replicas ?? architecture.max,
    expected_cold_start_s: seconds(line.coldStartMs.value),
    tls: line.serverName === null ? null : { server_name: line.serverName },
    proxies: { frontend: names.frontend, backend: backendName(names.frontend) },
  };
}

function seconds(ms: number): number {
  return ms / 1000;
}
