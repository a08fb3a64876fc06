import { isIdentity, type ProcessIdentity } from '../process-identity.ts';

/** The identities in a saved state; anything unreadable is nobody. */
export function parseProcesses(text: string): ProcessIdentity[] {
  try {
    const value: unknown = JSON.parse(text);
    return Array.isArray(value) ? value.filter(isIdentity) : [];
  } catch {
    return [];
  }
}
