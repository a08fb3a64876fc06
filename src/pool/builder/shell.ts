/** What the scripts of a builder pod have in common: they run in busybox's sh, with builtins wherever one will do. */

/** `value` as one word of a shell. */
export function quoteWord(value: string): string {
  return `'${value.replaceAll("'", `'\\''`)}'`;
}

/** A port as the kernel's tables write it: four hexadecimal digits. */
export function hexPort(port: number): string {
  return port.toString(16).toUpperCase().padStart(4, '0');
}

/** Seconds as `sleep` takes them, to the hundredth. */
export function sleepSeconds(seconds: number): string {
  return String(Math.round(seconds * 100) / 100);
}

/** Hundredths of a second, the unit of /proc/uptime and of all arithmetic in the scripts: a shell has only integers. */
export function centiseconds(seconds: number): number {
  return Math.round(seconds * 100);
}
