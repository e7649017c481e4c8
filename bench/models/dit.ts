/**
 * The transformer at a width where products, attention and norms share the time as in the real model: its forward pass, and
 * what the rows of dit-training.ts and dit-guidance.ts need of it.
 */
import { type DitConfig, ditPresets } from "../../lib/models/dit/config.js";
import { HunyuanDit } from "../../lib/models/dit/model.js";
import { ditSpec } from "../../lib/models/dit/spec.js";
import { Params, ResidentStore } from "../../lib/nn/params.js";
import {
  type Device,
  type FloatDType,
  full,
  mul,
  noGrad,
  randn,
  type Shape,
  scope,
  type Tensor,
} from "../../lib/tensor.js";
import type { BenchCase } from "../case.js";

/** A transformer and the clips that it is given, in latents. */
export interface BenchDit {
  readonly config: DitConfig;
  readonly batch: number;
  readonly latents: readonly [t: number, h: number, w: number];
}

export const benchDit: BenchDit = {
  config: { ...ditPresets.t2v, hiddenSize: 1024, numHeads: 8, numDoubleBlocks: 2, numSingleBlocks: 4 },
  batch: 1,
  latents: [5, 32, 32],
};

const textTokens = 64;

export function describeDit({ config, batch, latents: [t, h, w] }: BenchDit): string {
  const { hiddenSize, numDoubleBlocks, numSingleBlocks } = config;
  const blocks = `${numDoubleBlocks} + ${numSingleBlocks} blocks`;
  const tokens = `${(t * h * w) / 4} + ${textTokens}`;
  return `${hiddenSize} wide, ${blocks}, ${batch === 1 ? tokens : `${batch} × (${tokens})`} tokens`;
}

/** The sizes, for the peer. */
export function peerSizes({ config, batch, latents }: BenchDit) {
  return {
    batch,
    hidden: config.hiddenSize,
    heads: config.numHeads,
    double: config.numDoubleBlocks,
    single: config.numSingleBlocks,
    refiner: config.refinerDepth,
    latents,
    textTokens,
    textDim: config.textDim,
    pooledDim: config.pooledDim,
  };
}

function random<D extends FloatDType>(device: Device, shape: Shape, dtype: D, scale = 1): Tensor<D> {
  return scope(() => mul(randn(shape, { seed: 1, dtype, device }), scale));
}

export function randomParams({ config }: BenchDit, device: Device, dtype: FloatDType): Params {
  const named = ditSpec(config).map(({ name, shape, layout }) => {
    const inner = shape.slice(1).reduce((a, b) => a * b, 1);
    const as = layout === "flat" ? [shape[0] ?? 0, inner] : shape;
    return [name, random(device, as, dtype, shape.length > 1 ? 1 / Math.sqrt(inner) : 0.1)] as const;
  });
  return new Params(new ResidentStore(named));
}

/** [B, T, H, W, C] */
export function randomLatents<D extends FloatDType>(
  { config, batch, latents }: BenchDit,
  device: Device,
  dtype: D,
): Tensor<D> {
  return random(device, [batch, ...latents, config.inChannels], dtype);
}

/** What the transformer is told of the text. */
export function randomText<D extends FloatDType>({ config, batch }: BenchDit, device: Device, dtype: D) {
  return {
    text: random(device, [batch, textTokens, config.textDim], dtype),
    textLengths: Array.from({ length: batch }, () => textTokens),
    pooled: random(device, [batch, config.pooledDim], dtype),
  };
}

function forwardPass(dtype: "f32" | "bf16"): BenchCase {
  return {
    op: "transformer",
    shape: describeDit(benchDit),
    dtype,
    bound: "fma",
    memory: true,
    peer: { kind: "dit", dtype, ...peerSizes(benchDit) },
    async open(device) {
      const dit = new HunyuanDit(benchDit.config, randomParams(benchDit, device, dtype));
      const input = {
        ...randomText(benchDit, device, dtype),
        latents: randomLatents(benchDit, device, dtype),
        timestep: full([1], 700, { device }),
        guidance: full([1], 6000, { device }),
      };
      await device.sync();
      return {
        run: () => noGrad(() => dit.forward<FloatDType>(input)).dispose(),
        close: () => {
          for (const one of Object.values(input)) if (!Array.isArray(one)) (one as Tensor).dispose();
          dit.params.dispose();
        },
      };
    },
  };
}

export const ditCases: readonly BenchCase[] = [forwardPass("f32"), forwardPass("bf16")];
