/** A tiny transformer to be trained, and batches for it that follow from their number. */

import type { DitConfig } from "../../lib/models/dit/config.js";
import { HunyuanDit } from "../../lib/models/dit/model.js";
import { ditSpec } from "../../lib/models/dit/spec.js";
import { deviceShape } from "../../lib/nn/layout.js";
import { Params, ResidentStore } from "../../lib/nn/params.js";
import { cast, type Device, type FloatDType, mul, randn, scope, type Tensor, tensor } from "../../lib/tensor.js";
import type { BatchSource, DitBatch, JsonValue } from "../../lib/train.js";

/** Small enough for hundreds of steps in a second or two. */
export const trainDit = {
  hiddenSize: 16,
  numHeads: 2,
  ropeAxes: [2, 2, 4],
  ropeTheta: 256,
  numDoubleBlocks: 1,
  numSingleBlocks: 1,
  mlpRatio: 2,
  inChannels: 4,
  outChannels: 4,
  patchSize: [1, 2, 2],
  textDim: 8,
  pooledDim: 8,
  guidanceEmbed: false,
  refinerDepth: 1,
} as const satisfies DitConfig;

/** With random weights of a sensible size; norms begin at one, everything with one axis else at zero. */
export function freshDit(device: Device, config: DitConfig = trainDit, dtype: FloatDType = "f32"): HunyuanDit {
  const named = ditSpec(config).map((spec, i) => {
    const shape = deviceShape(spec);
    const [, inner = 1] = shape;
    const made = scope(() => {
      if (shape.length === 1) {
        const value = spec.name.includes("norm") && spec.name.endsWith("weight") ? 1 : 0;
        return tensor(new Float32Array(shape[0] ?? 0).fill(value), { dtype, device });
      }
      return cast(mul(randn(shape, { seed: 1000 + i, device }), 1 / Math.sqrt(inner)), dtype);
    });
    return [spec.name, made] as const;
  });
  return new HunyuanDit(config, new Params(new ResidentStore(named)));
}

export type Numbered = { readonly index: number; readonly size: number };

/** Batches 0, 1, 2, …; what is in them, their number decides. */
export class NumberedSource implements BatchSource<Numbered> {
  #next = 0;

  constructor(readonly size: number) {}

  take(): Promise<Numbered> {
    return Promise.resolve({ index: this.#next++, size: this.size });
  }

  tensors(): ReadonlyMap<string, Tensor> {
    return new Map();
  }

  data(): JsonValue {
    return this.#next;
  }

  restore(data: JsonValue): void {
    if (typeof data !== "number") throw new Error(`a position was saved as ${JSON.stringify(data)}`);
    this.#next = data;
  }
}

/** Two kinds of clips, told apart by their text: one bright on the left, one on the right. */
export function inputsFor({ index, size }: Numbered, device: Device, config: DitConfig = trainDit): DitBatch {
  const [t, h, w, c] = [1, 4, 4, config.inChannels];
  const kinds = Array.from({ length: size }, (_, i) => (index * size + i) % 2);
  const latents = Float32Array.from({ length: size * t * h * w * c }, (_, i) => {
    const column = Math.floor(i / c) % w;
    const left = column < w / 2;
    return (kinds[Math.floor(i / (t * h * w * c))] === 0) === left ? 1 : -1;
  });
  const words = (width: number) =>
    Float32Array.from(
      { length: size * width },
      (_, i) => (kinds[Math.floor(i / width)] === 0 ? 1 : -1) * (i % 2 === 0 ? 1 : 0.5),
    );
  const text = tensor(words(2 * config.textDim), { shape: [size, 2, config.textDim], device });
  return {
    latents: tensor(latents, { shape: [size, t, h, w, c], device }),
    text,
    textLengths: kinds.map(() => 2),
    pooled: tensor(words(config.pooledDim), { shape: [size, config.pooledDim], device }),
  };
}
