/** What Prometheus reads from the load balancer. */

/** Every metric of HAProxy's exporter that rules and dashboard use. */
export const BALANCER_METRICS = [
  'haproxy_frontend_current_sessions',
  'haproxy_backend_current_queue',
  'haproxy_server_status',
  'haproxy_server_current_sessions',
  'haproxy_backend_sessions_total',
  'haproxy_backend_queue_time_average_seconds',
  'haproxy_backend_max_queue_time_seconds',
  'haproxy_backend_total_time_average_seconds',
  'haproxy_backend_redispatch_warnings_total',
  'haproxy_process_uptime_seconds',
] as const;

/**
 * An entry of a ServiceMonitor's `endpoints`; `port` is the name of the Service's port. The whole page has
 * thousands of lines for each hundred of server lines; this is asked for instead: only the scopes and metrics that are used
 * (`metrics` since HAProxy 3.0, ignored before), and no server line without a builder behind it (`no-maint`).
 */
export function balancerEndpoint(port: string) {
  return {
    port,
    path: '/metrics',
    interval: '15s',
    params: {
      scope: ['global', 'frontend', 'backend', 'server'],
      'no-maint': [''],
      metrics: [BALANCER_METRICS.join(',')],
    },
  };
}
