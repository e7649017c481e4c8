/** An autoencoder to train from scratch: random weights, or weights that start as a blur codec. */
import type { VaeConfig } from "../../models/vae/config.js";
import { CausalVae } from "../../models/vae/model.js";
import { vaeSpec } from "../../models/vae/spec.js";
import { paramsFromTensors } from "../../nn/load.js";
import type { ParameterSpec } from "../../nn/spec.js";
import { full, zeros } from "../../ops/fill.js";
import { add, mul, sub } from "../../ops/pointwise.js";
import { rand } from "../../ops/random.js";
import type { Device } from "../../runtime/device.js";
import type { FloatDType } from "../../tensor/dtype.js";
import { tensor } from "../../tensor/host.js";
import { scope } from "../../tensor/scope.js";
import { sizeOf } from "../../tensor/shape.js";
import type { Tensor } from "../../tensor/tensor.js";
import { BlurCodec } from "./blur-codec.js";

export interface InitialVaeOptions {
  readonly device: Device;
  /** A whole number ≥ 0: the same seed gives the same weights. */
  readonly seed: number;
  /**
   * "random" (default): uniform within 1 / √(inputs of a convolution), norms at one. "blur": a codec whose latents hold
   * block means of the colours and whose decoder smooths them, with all else random: see {@link BlurCodec}.
   */
  readonly start?: "random" | "blur";
  /** Of a blur codec: the size of its constants (default 16). With 2, colours start less true, but it stands larger steps. */
  readonly constant?: number | undefined;
  /** Default f32. */
  readonly dtype?: FloatDType;
}

/**
 * An autoencoder with initial weights.
 *
 * @throws MODEL_UNSUPPORTED for a configuration that this library does not run, INVALID_ARGUMENT for one that a blur codec
 * does not fit in
 * @example
 * const demo = { ...vaePresets["884-16c-hy"], blockChannels: [16, 32, 64, 64], layersPerBlock: 1, normGroups: 1 };
 * const vae = initialVae(demo, { device, seed: 1, start: "blur" });
 */
export function initialVae(config: VaeConfig, options: InitialVaeOptions): CausalVae {
  const { device, seed, start = "random", constant, dtype = "f32" } = options;
  const specs = vaeSpec(config);
  const codec = start === "blur" ? new BlurCodec(config, constant) : undefined;
  const params = scope(() => {
    const made = specs.map((spec, i): readonly [string, Tensor] => {
      const first = randomStart(spec, specs[i - 1], device, seed * specs.length + i);
      const fixed = codec?.fix(spec);
      if (fixed === undefined) return [spec.name, first];
      const { shape } = spec;
      const part = (values: Float32Array<ArrayBuffer>) => tensor(values, { device, shape });
      return [spec.name, add(mul(first, part(fixed.random)), part(fixed.fixed))];
    });
    return paramsFromTensors(specs, new Map(made), { dtype });
  });
  return new CausalVae(config, params);
}

/** Uniform within 1 / √fan for weights and, by the weight before them, biases; norms at one and zero. */
function randomStart(
  { name, shape }: ParameterSpec,
  before: ParameterSpec | undefined,
  device: Device,
  seed: number,
): Tensor<"f32"> {
  if (/norm[^.]*\.(weight|bias)$/.test(name)) {
    return name.endsWith("weight") ? full(shape, 1, { device }) : zeros(shape, { device });
  }
  // A bias stands behind its weight in the list.
  const weight = name.endsWith(".bias") && before !== undefined ? before.shape : shape;
  const bound = 1 / Math.sqrt(sizeOf(weight.slice(1)));
  return sub(mul(rand(shape, { seed, device }), 2 * bound), bound);
}
