/** Looks into a forward pass: the intermediates that a case holds. */
import type { Tensor } from "../../../lib/tensor.js";
import type { ConformanceCase } from "../case-file.js";
import type { HostTensor } from "../compare.js";
import { type Outputs, toHost } from "./family.js";

export interface Collector {
  readonly probe: (place: string, value: Tensor) => void;
  /** What was seen, when it has been read. */
  all(): Promise<Outputs>;
}

/**
 * Reads intermediates while they are shown: what was lent may be overwritten afterwards. Where a place is shown twice the
 * later one stands.
 *
 * @param shape brings what was seen into the case's layout
 */
export function collect(
  from: ConformanceCase,
  shape: (name: string, seen: HostTensor) => HostTensor = (_, seen) => seen,
  view: (value: Tensor) => Tensor = (value) => value,
): Collector {
  const wanted = new Set(from.expected);
  const reads = new Map<string, Promise<HostTensor>>();
  return {
    probe(place, value) {
      const name = `mid.${place}`;
      if (!wanted.has(name)) return;
      const read = toHost(view(value)).then((seen) => shape(name, seen));
      // A failed read is told where it is awaited.
      read.catch(() => {});
      reads.set(name, read);
    },
    async all() {
      const entries = [...reads].map(async ([name, read]) => [name, await read] as const);
      return Object.fromEntries(await Promise.all(entries));
    },
  };
}
