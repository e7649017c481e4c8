/** Bytes and FLOPs of some work, as the declarations of the native ops it queues say. */
import { declaredOps } from "../lib/ops/define.js";
import type { Op } from "../lib/tensor/op.js";

type OpInputs = Parameters<Op["shape"]>[0];
type OpAttrs = Parameters<Op["shape"]>[1];

export interface Cost {
  readonly bytes: number;
  readonly flops: number;
  /** Names of the native ops, in the order in which they were queued. */
  readonly ops: readonly string[];
}

/**
 * Runs `work`, telling of each op just before it is queued: an op asks its declaration for the shapes of its outputs then, so
 * for the length of the call the declarations are told to tell.
 */
export function watchOps(work: () => void, see: (op: Op, inputs: OpInputs, attrs: OpAttrs) => void): void {
  const originals = new Map<Op, Op["shape"]>();
  for (const op of declaredOps()) {
    const shape: Op["shape"] = op.shape;
    originals.set(op, shape);
    const telling: Op["shape"] = (inputs, attrs) => {
      see(op, inputs, attrs);
      return shape.call(op, inputs, attrs);
    };
    Object.assign(op, { shape: telling });
  }
  try {
    work();
  } finally {
    for (const [op, shape] of originals) Object.assign(op, { shape });
  }
}

/** Runs `work` and adds up the costs of the ops it queues. */
export function costOf(work: () => void): Cost {
  let bytes = 0;
  let flops = 0;
  const ops: string[] = [];
  watchOps(work, (op, inputs, attrs) => {
    const cost = op.cost?.(inputs, attrs);
    bytes += cost?.bytes ?? 0;
    flops += cost?.flops ?? 0;
    ops.push(op.name);
  });
  return { bytes, flops, ops };
}
