/** Bytes and FLOPs of some work, as the declarations of the native ops it queues say. */
import { declaredOps } from "../lib/ops/define.js";
import type { Op } from "../lib/tensor/op.js";

export interface Cost {
  readonly bytes: number;
  readonly flops: number;
  /** Names of the native ops, in the order in which they were queued. */
  readonly ops: readonly string[];
}

/**
 * Runs `work` and adds up the costs of the ops it queues. Every op asks its declaration for the shapes of its outputs
 * just before it is queued, so for the length of the call the declarations are told to keep count.
 */
export function costOf(work: () => void): Cost {
  let bytes = 0;
  let flops = 0;
  const ops: string[] = [];
  const originals = new Map<Op, Op["shape"]>();
  for (const op of declaredOps()) {
    const shape: Op["shape"] = op.shape;
    originals.set(op, shape);
    const counting: Op["shape"] = (inputs, attrs) => {
      const cost = op.cost?.(inputs, attrs);
      bytes += cost?.bytes ?? 0;
      flops += cost?.flops ?? 0;
      ops.push(op.name);
      return shape.call(op, inputs, attrs);
    };
    Object.assign(op, { shape: counting });
  }
  try {
    work();
  } finally {
    for (const [op, shape] of originals) Object.assign(op, { shape });
  }
  return { bytes, flops, ops };
}
