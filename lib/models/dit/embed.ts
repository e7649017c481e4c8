/**
 * What enters the transformer besides text: timestep, guidance, pooled text and patches of latents.
 *
 * B batch, T H W frames, rows and columns of latents, S = T · H/2 · W/2 video tokens, C hidden size.
 */
import { dense } from "../../nn/layers.js";
import type { Params } from "../../nn/params.js";
import { concat } from "../../ops/concat.js";
import { cast } from "../../ops/copy.js";
import { patchify } from "../../ops/layout.js";
import { mul } from "../../ops/pointwise.js";
import { cos, sin } from "../../ops/unary.js";
import { unsqueeze } from "../../ops/views.js";
import type { FloatDType } from "../../tensor/dtype.js";
import { tensor } from "../../tensor/host.js";
import { scope } from "../../tensor/scope.js";
import type { Tensor } from "../../tensor/tensor.js";
import { sinusoidSize } from "./config.js";
import type { Probe } from "./probe.js";

const half = sinusoidSize / 2;

/** Where the reference's own exponential, whose results the conformance cases hold, is one bit above the nearest f32. */
const oneBitAbove: readonly number[] = [13, 44];

/**
 * 10000^(−j / 128), rounded to f32 after each operation, as in the reference: guidance is 6000, and an angle that large
 * shows a frequency's last bit (2e-4 in the sinusoid).
 */
const frequencies = Float32Array.from({ length: half }, (_, j) => {
  const f = Math.fround(Math.exp(Math.fround(Math.fround(-Math.log(10_000)) * j) / half));
  return oneBitAbove.includes(j) ? f * (1 + 2 ** -24) : f;
});

/** [cos t·f, sin t·f] of each t, [B] to [B, 256], all in f32. */
export function sinusoid(t: Tensor<"f32">): Tensor<"f32"> {
  return scope(() => {
    const f = tensor(frequencies, { dtype: "f32", shape: [1, half], device: t.device });
    const angles = mul(unsqueeze(t, 1), f);
    return concat([cos(angles), sin(angles)], 1);
  });
}

/** A number for each sample (timestep or guidance, [B]) as a vector [B, C]: sinusoid, linear, SiLU, linear. */
export function embedNumber<D extends FloatDType>(p: Params, t: Tensor<"f32">, dtype: D, probe?: Probe): Tensor<D> {
  return scope(() => {
    const waves = sinusoid(t);
    probe?.(`${p.path}.sinusoid`, waves);
    const vec = dense(p.at("mlp.2"), dense(p.at("mlp.0"), cast(waves, dtype), { activation: "silu" }));
    probe?.(p.path, vec);
    return vec;
  });
}

/** The pooled text [B, pooledDim] as a vector [B, C]: linear, SiLU, linear. */
export function embedPooled<D extends FloatDType>(p: Params, pooled: Tensor<D>, probe?: Probe): Tensor<D> {
  return scope(() => {
    const vec = dense(p.at("out_layer"), dense(p.at("in_layer"), pooled, { activation: "silu" }));
    probe?.(p.path, vec);
    return vec;
  });
}

/** Latents [B, T, H, W, inChannels] as tokens [B, S, C]: the patch convolution, whose patches do not overlap, as a product. */
export function embedPatches<D extends FloatDType>(p: Params, latents: Tensor<D>, probe?: Probe): Tensor<D> {
  return scope(() => {
    const tokens = dense(p.at("proj"), patchify(latents));
    probe?.(p.path, tokens);
    return tokens;
  });
}
