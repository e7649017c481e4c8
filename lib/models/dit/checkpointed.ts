/** Blocks that are computed again in the backward pass, so that nothing inside them is kept until then. */
import { checkpoint } from "../../autograd/checkpoint.js";
import type { FloatDType } from "../../tensor/dtype.js";
import type { Tensor } from "../../tensor/tensor.js";
import type { Part } from "./blocks.js";
import type { AttentionLayout } from "./joint-attention.js";

/** A block over its parts. */
export type Block<D extends FloatDType> = (parts: readonly Part<D>[], layout: AttentionLayout) => Tensor<D>[];

/**
 * Runs a block as one step of the tape. All that it reads besides weights is handed through: the tensors of parts and
 * layout are gone when the backward pass comes.
 */
export function checkpointed<D extends FloatDType>(
  block: Block<D>,
  parts: readonly Part<D>[],
  layout: AttentionLayout,
): Tensor<D>[] {
  const inputs = new Inputs();
  const places = parts.map(({ x, cond, rope }) => ({
    x: inputs.add(x),
    cond: inputs.add(cond),
    rope: rope && { cos: inputs.add(rope.cos), sin: inputs.add(rope.sin) },
  }));
  const ends = layout.cuSeqlens && inputs.add(layout.cuSeqlens);
  return checkpoint(
    (...given: Tensor[]) => {
      // Each comes back in the place, and so with the type, in which it was given.
      const at = <T extends Tensor>(place: Place<T>): T => given[place.index] as T;
      const again = parts.map(({ stream }, i): Part<D> => {
        const { x, cond, rope } = places[i] as (typeof places)[number];
        return { stream, x: at(x), cond: at(cond), rope: rope && { cos: at(rope.cos), sin: at(rope.sin) } };
      });
      return block(again, { ...layout, cuSeqlens: ends && at(ends) });
    },
    ...inputs.list,
  );
}

/** Where a tensor of a type stands among the inputs. */
interface Place<T extends Tensor> {
  readonly index: number;
  readonly like?: T;
}

class Inputs {
  readonly list: Tensor[] = [];

  /** A tensor that several parts share is handed through once: its gradient is then the sum. */
  add<T extends Tensor>(tensor: T): Place<T> {
    const known = this.list.indexOf(tensor);
    return { index: known >= 0 ? known : this.list.push(tensor) - 1 };
  }
}
