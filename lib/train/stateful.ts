/** What a run consists of, as far as saving and resuming it goes. */
import type { Tensor } from "../tensor/tensor.js";

/** What JSON can hold. */
export type JsonValue = null | boolean | number | string | readonly JsonValue[] | { readonly [key: string]: JsonValue };

/**
 * A part of a run that is saved and resumed with it: parameters, an optimizer, averages, a position in the data. Whoever
 * resumes builds the part as at the start, and `restore` and the loader then give it what it had when it was saved.
 */
export interface Stateful {
  /**
   * Its tensors, by names that are unique in the part; dense, lent, and the part's for as long as it lives. On resuming
   * they are overwritten in place, so they are the same set with the same shapes and types from the start on.
   */
  tensors(): ReadonlyMap<string, Tensor>;
  /** Everything else that later steps depend on. */
  data(): JsonValue;
  /**
   * Takes back what `data` gave. The tensors have been restored before.
   *
   * @throws CHECKPOINT_INVALID when it is not what this part saves
   */
  restore(data: JsonValue): void;
}

/** The parts of a run by name; tensors are saved as "part/tensor". */
export type StateParts = { readonly [name: string]: Stateful };
