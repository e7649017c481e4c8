/**
 * Random numbers. Philox 4×32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC11) gives element i from
 * the seed and i alone, so that any number of threads and any sharding see one stream. `rng: "torch"` gives what
 * PyTorch's CPU generator gives for a seed: the noise that users of diffusers and ComfyUI know.
 */
import { type Device, defaultDevice } from "../runtime/device.js";
import { HunyuanError } from "../runtime/errors.js";
import { runOp } from "../tensor/apply.js";
import { checkDevice, checkNumber, checkOneOf, checkOptions, invalid } from "../tensor/check.js";
import { bytesOf, type DType, type FloatDType, floatDTypes } from "../tensor/dtype.js";
import { checkShape, type Shape, sizeOf } from "../tensor/shape.js";
import type { Tensor } from "../tensor/tensor.js";
import { defineOp } from "./define.js";

const kinds = ["uniform", "normal"] as const;
type Kind = (typeof kinds)[number];

const written = (dtype: DType, shape: Shape, flops: number) => ({
  bytes: bytesOf(dtype, sizeOf(shape)),
  flops: flops * sizeOf(shape),
});

const philoxOp = defineOp({
  name: "philox",
  doc: "uniform [0, 1) or normal numbers; element i from the seed and offset + i (Philox 4x32-10, Box-Muller in pairs)",
  inputs: {},
  attrs: { kind: kinds, seedLow: "i64", seedHigh: "i64", offset: "i64", dtype: floatDTypes, shape: "i64[]" },
  outputs: ["y"],
  shape: (_, { dtype, shape }) => ({ y: { dtype, shape } }),
  cost: (_, { dtype, shape }) => written(dtype, shape, 30),
});

const torchRandomOp = defineOp({
  name: "torch_random",
  doc: "PyTorch's CPU rand and randn (mt19937) after `skip` draws; `kept` is the draw whose pair left a normal over, or -1",
  inputs: {},
  attrs: { kind: kinds, seed: "i64", skip: "i64", kept: "i64", dtype: floatDTypes, shape: "i64[]" },
  outputs: ["y"],
  shape: (_, { dtype, shape }) => ({ y: { dtype, shape } }),
  cost: (_, { dtype, shape }) => written(dtype, shape, 30),
});

const whole = { whole: true, min: 0 };

/** PyTorch makes fewer than this many normals one after the other, in double precision. */
const torchBlock = 16;
const drawsOfPair = 4;

/**
 * PyTorch's CPU generator: successive calls of `rand` and `randn` with one of these go on where the last one ended, as with
 * a `torch.Generator`. Holds only numbers; each call's device steps through the draws made so far (about 1 ns each).
 */
export class TorchGenerator {
  /** The low 32 bits are what counts, as in PyTorch. */
  readonly seed: number;
  /** 32-bit numbers drawn so far. */
  #draws = 0;
  /** Position of the draws whose second normal has not been used yet; −1 when there is none. */
  #kept = -1;

  constructor(seed: number) {
    checkNumber("torchGenerator", "seed", seed, whole);
    this.seed = seed;
  }

  /** Where the next `n` numbers start; moves on past them. @internal */
  take(kind: Kind, n: number): { readonly skip: number; readonly kept: number } {
    const place = { skip: this.#draws, kept: this.#kept };
    if (kind === "uniform") this.#draws += n;
    else if (n >= torchBlock) this.#draws += n + (n % torchBlock === 0 ? 0 : torchBlock);
    else this.#takeFew(n);
    return place;
  }

  /** Normals come in pairs; the second of a pair waits for the next call that makes fewer than 16. */
  #takeFew(n: number): void {
    const fresh = n - (this.#kept >= 0 && n > 0 ? 1 : 0);
    const pairs = Math.ceil(fresh / 2);
    if (n === 0) return;
    this.#draws += pairs * drawsOfPair;
    this.#kept = fresh % 2 === 1 ? this.#draws - drawsOfPair : -1;
  }
}

/**
 * PyTorch's CPU generator after `manual_seed(seed)`.
 *
 * @throws INVALID_ARGUMENT when the seed is no whole number ≥ 0
 * @example const generator = torchGenerator(42); const a = randn([2, 3], { generator }), b = randn([4], { generator });
 */
export function torchGenerator(seed: number): TorchGenerator {
  return new TorchGenerator(seed);
}

export interface RandomOptions<D extends FloatDType = FloatDType> {
  /** A whole number ≥ 0. Needed unless `generator` is given. */
  readonly seed?: number;
  /** Default f32. The numbers are made in f32 and rounded (uniform ones downwards, so that 1 is never reached). */
  readonly dtype?: D;
  /** Default: the process's CPU device. */
  readonly device?: Device;
  /** "philox" (default): the same on every device. "torch": as a fresh PyTorch CPU generator. */
  readonly rng?: "philox" | "torch";
  /** Philox only: index of the first element, so that shards of one tensor can be made apart. Default 0. */
  readonly offset?: number;
  /** A PyTorch generator to go on with, instead of `seed` and `rng`. */
  readonly generator?: TorchGenerator;
}

type Options<D extends FloatDType> = RandomOptions<D> &
  ({ readonly seed: number } | { readonly generator: TorchGenerator });

function random<D extends FloatDType>(
  op: string,
  kind: Kind,
  shape: Shape,
  options: RandomOptions<D>,
): Tensor<D | "f32"> {
  checkShape(op, shape);
  checkOptions(op, options);
  const { seed = -1, dtype = "f32", device = defaultDevice(), rng = "philox", offset = 0, generator } = options;
  checkOneOf(op, "dtype", dtype, floatDTypes);
  checkOneOf(op, "rng", rng, ["philox", "torch"]);
  checkNumber(op, "offset", offset, whole);
  checkDevice(op, device);
  if (generator !== undefined) {
    if (!(generator instanceof TorchGenerator)) throw invalid(op, "generator", generator, "one of torchGenerator()");
    return fromTorch(op, kind, shape, dtype, device, generator);
  }
  checkNumber(op, "seed", options.seed, whole);
  if (rng === "torch") return fromTorch(op, kind, shape, dtype, device, new TorchGenerator(seed));
  const [seedLow, seedHigh] = [seed % 2 ** 32, Math.floor(seed / 2 ** 32)];
  const attrs = { kind, seedLow, seedHigh, offset, dtype, shape: [...shape] };
  return runOp<{ y: D | "f32" }>(philoxOp, {}, attrs, { device }).y;
}

function fromTorch<D extends FloatDType>(
  op: string,
  kind: Kind,
  shape: Shape,
  dtype: D,
  device: Device,
  generator: TorchGenerator,
): Tensor<D> {
  // PyTorch's f64 numbers, and its uniform ones of 16 bits, come from other draws than these.
  if (dtype === "f64" || (kind === "uniform" && dtype !== "f32")) {
    throw new HunyuanError(
      "DTYPE_UNSUPPORTED",
      `${op}: PyTorch's generator gives f32${kind === "normal" ? ", bf16 and f16" : ""} here, not ${dtype}; cast() the result`,
      {
        op,
        argument: "dtype",
        dtype,
      },
    );
  }
  // What has no room (its read says so) draws nothing: later calls would step through its numbers one by one.
  const size = sizeOf(shape);
  const { skip, kept } = generator.take(kind, bytesOf(dtype, size) <= device.memory().limit ? size : 0);
  return runOp<{ y: D }>(
    torchRandomOp,
    {},
    { kind, seed: generator.seed % 2 ** 32, skip, kept, dtype, shape: [...shape] },
    { device },
  ).y;
}

/**
 * Uniform numbers in [0, 1).
 *
 * @throws INVALID_ARGUMENT; DTYPE_UNSUPPORTED for a type that PyTorch's generator is not known for
 * @example rand([2, 3], { seed: 7 })
 */
export function rand<D extends FloatDType = "f32">(shape: Shape, options: Options<D>): Tensor<D>;
export function rand(shape: Shape, options: RandomOptions): Tensor<FloatDType> {
  return random("rand", "uniform", shape, options);
}

/**
 * Normal numbers: mean 0, variance 1.
 *
 * @throws INVALID_ARGUMENT; DTYPE_UNSUPPORTED for a type that PyTorch's generator is not known for
 * @example randn([1, 16, 33, 90, 160], { seed: 42, rng: "torch" }) // torch.randn(…, generator=torch.Generator().manual_seed(42))
 */
export function randn<D extends FloatDType = "f32">(shape: Shape, options: Options<D>): Tensor<D>;
export function randn(shape: Shape, options: RandomOptions): Tensor<FloatDType> {
  return random("randn", "normal", shape, options);
}
