/** What a checkpoint says of its tensors before a byte of them is read, whatever the file format. */
import type { DType } from "../tensor/dtype.js";
import type { Shape } from "../tensor/shape.js";

/** One tensor in a file: dense, row-major, little-endian, uncompressed. */
export interface TensorEntry {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: Shape;
  /** Absolute path. */
  readonly file: string;
  /** First byte in the file. */
  readonly offset: number;
  readonly bytes: number;
}

export type CheckpointFormat = "safetensors" | "torch";

/** The tensors of one file, or of all shards of a model, by name. Nothing of it is in memory but the names. */
export interface Checkpoint {
  /** What was opened: a file, an index or a folder. */
  readonly source: string;
  readonly format: CheckpointFormat;
  readonly files: readonly string[];
  readonly entries: ReadonlyMap<string, TensorEntry>;
  /** Free text that the files carry (`__metadata__` of safetensors). */
  readonly metadata: ReadonlyMap<string, string>;
}
