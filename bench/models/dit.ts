/** The transformer's forward pass at a width where products, attention and norms share the time as in the real model. */
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

const config = {
  ...ditPresets.t2v,
  hiddenSize: 1024,
  numHeads: 8,
  numDoubleBlocks: 2,
  numSingleBlocks: 4,
} as const satisfies DitConfig;

const textTokens = 64;
const latents = [5, 32, 32] as const;
const videoTokens = (latents[0] * latents[1] * latents[2]) / 4;

function random<D extends FloatDType>(device: Device, shape: Shape, dtype: D, scale = 1): Tensor<D> {
  return scope(() => mul(randn(shape, { seed: 1, dtype, device }), scale));
}

function randomParams(device: Device, dtype: FloatDType): Params {
  const named = ditSpec(config).map(({ name, shape, layout }) => {
    const inner = shape.slice(1).reduce((a, b) => a * b, 1);
    const as = layout === "flat" ? [shape[0] ?? 0, inner] : shape;
    return [name, random(device, as, dtype, shape.length > 1 ? 1 / Math.sqrt(inner) : 0.1)] as const;
  });
  return new Params(new ResidentStore(named));
}

function forwardPass(dtype: "f32" | "bf16"): BenchCase {
  return {
    op: "transformer",
    shape: `${config.hiddenSize} wide, ${config.numDoubleBlocks} + ${config.numSingleBlocks} blocks, ${videoTokens} + ${textTokens} tokens`,
    dtype,
    bound: "fma",
    memory: true,
    peer: {
      kind: "dit",
      dtype,
      hidden: config.hiddenSize,
      heads: config.numHeads,
      double: config.numDoubleBlocks,
      single: config.numSingleBlocks,
      refiner: config.refinerDepth,
      latents,
      textTokens,
      textDim: config.textDim,
      pooledDim: config.pooledDim,
    },
    async open(device) {
      const dit = new HunyuanDit(config, randomParams(device, dtype));
      const input = {
        latents: random(device, [1, ...latents, config.inChannels], dtype),
        timestep: full([1], 700, { device }),
        text: random(device, [1, textTokens, config.textDim], dtype),
        textLengths: [textTokens],
        pooled: random(device, [1, config.pooledDim], dtype),
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
