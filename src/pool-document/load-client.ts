/** Loads the HTTP side when it is needed; in the bundles it is a file of its own (scripts/bundle.ts). */
export function loadPoolClient(): Promise<typeof import('./client.ts')> {
  return import('./client.ts');
}
