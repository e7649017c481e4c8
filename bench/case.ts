/** A benchmark case: inputs by shape and type, one call of the library, and what limits it. */
import {
  type Device,
  type DType,
  type FloatDType,
  grad,
  requiresGrad,
  type Shape,
  scope,
  Tensor,
  tensor,
} from "../lib/tensor.js";
import type { PeerTask } from "./peers/task.js";

/**
 * What the work meets first: the multiply-add units (on a GPU the tensor cores, for 16-bit types), or memory. "read" is
 * for work that reads far more than it writes.
 */
export type Bound = "fma" | "copy" | "read";

/** A case that is ready to run. */
export interface Work {
  /** One call, queued; disposes of what it makes. */
  run(): void;
  close(): void;
  /** Other work on the same inputs, for the ratio of the two. */
  readonly against?: { readonly what: string; run(): void } | undefined;
}

export interface BenchCase {
  readonly op: string;
  readonly shape: string;
  readonly dtype: string;
  readonly bound: Bound;
  /** The same work for bench/peers, where there is a peer for it. */
  readonly peer?: PeerTask | undefined;
  /** The part of the declared FLOPs that is left to do where a mask hides the rest. Default 1. */
  readonly flopsShare?: number | undefined;
  /** Whether rows tell the peak of resident memory, weights and inputs included. Default false. */
  readonly memory?: boolean | undefined;
  /** Kinds of devices that the case is of a size for; default all. */
  readonly only?: readonly string[] | undefined;
  open(device: Device): Promise<Work>;
}

export interface InputSpec {
  readonly shape: Shape;
  readonly dtype: DType;
  /** Values are uniform in ±scale; default 1. Whole numbers in 0 … scale − 1 for i32 and u8. */
  readonly scale?: number;
  /** Uniform in 0 … scale instead. */
  readonly positive?: boolean;
}

type InputSpecs = { readonly [name: string]: InputSpec };
type Inputs<I extends InputSpecs> = { readonly [K in keyof I]: Tensor<I[K]["dtype"]> };

export interface CaseSpec<I extends InputSpecs> {
  readonly op: string;
  readonly shape: string;
  readonly dtype: string;
  readonly bound: Bound;
  readonly peer?: PeerTask | undefined;
  readonly flopsShare?: number;
  readonly inputs: I;
  /** Calls the library. What comes out is disposed of after the call. */
  run(inputs: Inputs<I>): Tensor | readonly Tensor[];
}

/** Random numbers of one megabyte, repeated: filling gigabytes value by value would take longer than the benchmark. */
function randomValues(
  size: number,
  { dtype, scale = 1, positive = false }: InputSpec,
): Float32Array | Int32Array | Uint8Array {
  const whole = dtype === "i32" || dtype === "u8";
  const values =
    dtype === "i32" ? new Int32Array(size) : dtype === "u8" ? new Uint8Array(size) : new Float32Array(size);
  const block = Math.min(size, 262_144);
  let state = 12345;
  for (let i = 0; i < block; i++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    const unit = state / 2 ** 32;
    values[i] = whole ? Math.floor(unit * scale) : (positive ? unit : 2 * unit - 1) * scale;
  }
  for (let filled = block; filled < size; filled *= 2) values.copyWithin(filled, 0, Math.min(filled, size - filled));
  return values;
}

async function randomTensor<D extends DType>(
  device: Device,
  spec: InputSpec & { readonly dtype: D },
): Promise<Tensor<D>> {
  const size = spec.shape.reduce((n, dim) => n * dim, 1);
  const made = tensor(randomValues(size, spec), { dtype: spec.dtype, shape: spec.shape, device });
  // Uploads are bounded until they have reached the device.
  await device.sync();
  return made;
}

async function makeInputs<I extends InputSpecs>(device: Device, specs: I): Promise<Inputs<I>> {
  const made: { [name: string]: Tensor } = {};
  for (const [name, spec] of Object.entries(specs)) made[name] = await randomTensor(device, spec);
  // Made from the specs just walked.
  return made as Inputs<I>;
}

const listOf = (made: Tensor | readonly Tensor[]) => (made instanceof Tensor ? [made] : made);

/** A case that times a call. */
export function forward<const I extends InputSpecs>(spec: CaseSpec<I>): BenchCase {
  return {
    ...spec,
    async open(device) {
      const inputs = await makeInputs(device, spec.inputs);
      return {
        run: () => void scope(() => void spec.run(inputs)),
        close: () => disposeAll(inputs),
      };
    },
  };
}

export interface BackwardSpec<I extends InputSpecs> extends CaseSpec<I> {
  /** Inputs whose gradients are computed. */
  readonly gradients: readonly (keyof I & string)[];
}

/** A case that times the gradient alone: the forward pass runs once, before the clock starts. */
export function backward<const I extends InputSpecs>(spec: BackwardSpec<I>): BenchCase {
  return {
    ...spec,
    async open(device) {
      const inputs = await makeInputs(device, spec.inputs);
      const leaves = spec.gradients.map((name) => requiresGrad(inputs[name] as Tensor));
      const [output] = listOf(scope(() => spec.run(inputs)));
      if (output === undefined) throw new Error(`${spec.op}: nothing to differentiate`);
      const gradient = await randomTensor(device, { shape: output.shape, dtype: output.dtype as FloatDType });
      return {
        // What `grad` answers belongs to the caller, not to the scope.
        run: () => {
          const found = scope(() => grad(output, leaves, { gradient }));
          for (const one of found) one?.dispose();
        },
        close: () => {
          output.dispose();
          gradient.dispose();
          disposeAll(inputs);
        },
      };
    },
  };
}

function disposeAll(tensors: { readonly [name: string]: Tensor }): void {
  for (const one of Object.values(tensors)) one.dispose();
}

/** "[1, 4096, 8, 128] · [512, 512]" */
export const shapes = (...list: readonly Shape[]): string => list.map((shape) => `[${shape.join(", ")}]`).join(" · ");
