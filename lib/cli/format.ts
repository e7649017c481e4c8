/** Numbers as people read them. */

const units = ["B", "KiB", "MiB", "GiB", "TiB"] as const;

/** @example showBytes(25_642_025_088) // "23.9 GiB" */
export function showBytes(bytes: number): string {
  const power = Math.min(units.length - 1, bytes < 1 ? 0 : Math.floor(Math.log2(bytes) / 10));
  const value = bytes / 1024 ** power;
  return `${power === 0 ? value : value.toFixed(value < 10 ? 2 : 1)} ${units[power]}`;
}

/** @example showDuration(754_000) // "12 min 34 s" */
export function showDuration(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${seconds % 60} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** @example showCount(12_821_012_544) // "12.8 billion" */
export function showCount(count: number): string {
  for (const [size, word] of [
    [1e9, "billion"],
    [1e6, "million"],
  ] as const) {
    if (count >= size) return `${(count / size).toFixed(1)} ${word}`;
  }
  return count.toLocaleString("en-US");
}

/** @example showFlops(6.03e17) // "603 PFLOP" */
export function showFlops(flops: number): string {
  for (const [size, unit] of [
    [1e18, "EFLOP"],
    [1e15, "PFLOP"],
    [1e12, "TFLOP"],
    [1e9, "GFLOP"],
  ] as const) {
    if (flops >= size) return `${(flops / size).toPrecision(3)} ${unit}`;
  }
  return `${(flops / 1e6).toPrecision(3)} MFLOP`;
}

/** Columns side by side; all but the first flush right, where `right` says so. */
export function table(rows: readonly (readonly string[])[], right = true): string[] {
  const widths = rows.reduce<number[]>((max, row) => row.map((cell, i) => Math.max(max[i] ?? 0, cell.length)), []);
  return rows.map((row) =>
    row
      .map((cell, i) => (right && i > 0 ? cell.padStart(widths[i] ?? 0) : cell.padEnd(widths[i] ?? 0)))
      .join("  ")
      .trimEnd(),
  );
}
