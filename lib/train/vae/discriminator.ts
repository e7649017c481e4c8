/**
 * The judge of adversarial training: a convolutional network over clips that answers for each patch of space and time
 * whether it looks like data. Images are clips of one frame.
 *
 * Letters: B batch, T frames, H height, W width, C channels; clips are [B, T, H, W, C].
 *
 * Source: Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks" (arXiv 1611.07004), §3.2.2, the
 * patch discriminator, here with 3 × 3 × 3 kernels and with GroupNorm, which knows no running averages.
 */
import { affineGroupNorm, convolution } from "../../nn/layers.js";
import { paramsFromTensors } from "../../nn/load.js";
import type { Params } from "../../nn/params.js";
import type { ParameterSpec } from "../../nn/spec.js";
import { full, zeros } from "../../ops/fill.js";
import { mul } from "../../ops/pointwise.js";
import { randn } from "../../ops/random.js";
import { leakyRelu } from "../../ops/unary.js";
import type { Device } from "../../runtime/device.js";
import { HunyuanError } from "../../runtime/errors.js";
import { checkTensor } from "../../tensor/check.js";
import type { FloatDType } from "../../tensor/dtype.js";
import { scope } from "../../tensor/scope.js";
import { showShape } from "../../tensor/shape.js";
import type { Tensor } from "../../tensor/tensor.js";
import { frozenParams } from "./frozen.js";

export interface DiscriminatorConfig {
  /** Colours of the clips. */
  readonly inChannels: number;
  /** Width of the first layer; each further one is twice as wide as the one before, up to eight times. */
  readonly channels: number;
  /** Layers that halve height and width, and from the second on frames; one more of stride 1 and the answer follow. */
  readonly layers: number;
  /** Groups of every GroupNorm; divides `channels`. */
  readonly normGroups: number;
}

/** For pictures of a few hundred pixels; the demo's 64 × 64 need fewer channels. */
export const discriminatorDefaults = {
  inChannels: 3,
  channels: 64,
  layers: 3,
  normGroups: 8,
} as const satisfies DiscriminatorConfig;

const widest = 8;
const slope = 0.2;
const normEps = 1e-6;

/** Widths of the layers, the one of stride 1 included. */
const widths = ({ channels, layers }: DiscriminatorConfig) =>
  Array.from({ length: layers + 1 }, (_, i) => channels * Math.min(2 ** i, widest));

/**
 * Its parameters.
 *
 * @throws INVALID_ARGUMENT for a configuration that makes no network
 */
export function discriminatorSpec(config: DiscriminatorConfig): readonly ParameterSpec[] {
  checkConfig(config);
  const all = widths(config);
  const conv = (name: string, out: number, inner: number, bias: boolean): readonly ParameterSpec[] => [
    { name: `${name}.weight`, shape: [out, inner, 3, 3, 3], layout: "channels-last" },
    ...(bias ? [{ name: `${name}.bias`, shape: [out], layout: "same" } as const] : []),
  ];
  return [
    ...all.flatMap((out, i): readonly ParameterSpec[] => {
      const first = i === 0;
      const name = `layers.${i}`;
      return [
        // A bias before a norm would be taken away by it.
        ...conv(`${name}.conv`, out, first ? config.inChannels : (all[i - 1] as number), first),
        ...(first
          ? []
          : ([
              { name: `${name}.norm.weight`, shape: [out], layout: "same" },
              { name: `${name}.norm.bias`, shape: [out], layout: "same" },
            ] as const)),
      ];
    }),
    ...conv("answer", 1, all.at(-1) as number, true),
  ];
}

function checkConfig(config: DiscriminatorConfig): void {
  const bad = (["inChannels", "channels", "layers", "normGroups"] as const).find(
    (what) => !Number.isSafeInteger(config[what]) || config[what] < 1,
  );
  const what = bad ?? (config.channels % config.normGroups === 0 ? undefined : "normGroups");
  if (what === undefined) return;
  const expected = bad === undefined ? `a divisor of ${config.channels} channels` : "a whole number ≥ 1";
  throw new HunyuanError("INVALID_ARGUMENT", `discriminator: ${what} is ${config[what]}, expected ${expected}`, {
    op: "discriminator",
    argument: what,
  });
}

/** The network over its parameters. */
export class PatchDiscriminator implements Disposable {
  readonly config: DiscriminatorConfig;
  readonly params: Params;

  /** @param params those of `discriminatorSpec`; they become the discriminator's */
  constructor(config: DiscriminatorConfig, params: Params) {
    checkConfig(config);
    this.config = config;
    this.params = params;
  }

  /**
   * A fresh one: weights normal with a standard deviation of 0.02, as in the source.
   *
   * @example const judge = PatchDiscriminator.create({ ...discriminatorDefaults, channels: 16 }, { seed: 1, device });
   */
  static create(
    config: DiscriminatorConfig,
    { seed, device, dtype = "f32" }: { readonly seed: number; readonly device: Device; readonly dtype?: FloatDType },
  ): PatchDiscriminator {
    const specs = discriminatorSpec(config);
    const params = scope(() => {
      const made = specs.map(({ name, shape }, i): readonly [string, Tensor] => {
        if (shape.length > 1) return [name, mul(randn(shape, { seed: seed + i, device }), 0.02)];
        return [name, name.endsWith("weight") ? full(shape, 1, { device }) : zeros(shape, { device })];
      });
      return paramsFromTensors(specs, new Map(made), { dtype });
    });
    return new PatchDiscriminator(config, params);
  }

  /**
   * One number for each patch, large where it looks like data.
   *
   * @param clip [B, T, H, W, C], values in −1 … 1
   * @returns [B, T', H', W', 1], T' = ⌈T / 2^(layers − 1)⌉, H' = ⌈H / 2^layers⌉
   * @throws SHAPE_MISMATCH
   */
  judge<D extends FloatDType>(clip: Tensor<D>): Tensor<D> {
    return judgeWith(this.config, this.params, clip);
  }

  /**
   * The same judge with weights that are no leaves: gradients flow through to the clip, and no work is done for the
   * weights'. Sees every step made on the weights; dispose of it before the discriminator.
   */
  frozen(): PatchDiscriminator {
    return new PatchDiscriminator(this.config, frozenParams(this.params));
  }

  dispose(): void {
    this.params.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

function judgeWith<D extends FloatDType>(config: DiscriminatorConfig, p: Params, clip: Tensor<D>): Tensor<D> {
  checkTensor("judge", "clip", clip);
  const { inChannels, layers, normGroups: groups } = config;
  if (clip.rank !== 5 || clip.shape[4] !== inChannels) {
    const message = `judge: clip is ${showShape(clip.shape)}, expected [B, T, H, W, ${inChannels}]`;
    throw new HunyuanError("SHAPE_MISMATCH", message, { op: "judge", argument: "clip", shapes: [clip.shape] });
  }
  // A patch is judged by what is before and after it.
  const padding = "centred";
  return scope(() => {
    let x = clip;
    for (let i = 0; i <= layers; i++) {
      const layer = p.at(`layers.${i}`);
      const space = i < layers ? 2 : 1;
      const stride = [i === 0 ? 1 : space, space, space] as const;
      x = convolution(layer.at("conv"), x, { stride, padding });
      if (i > 0) x = affineGroupNorm(layer.at("norm"), x, { groups, eps: normEps });
      x = leakyRelu(x, { slope });
    }
    return convolution(p.at("answer"), x, { padding });
  });
}
