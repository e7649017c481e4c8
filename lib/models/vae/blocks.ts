/**
 * The blocks that encoder and decoder share. Letters: B batch, T frames, H height, W width, C channels, S = T · H · W.
 *
 * The clip between two blocks is the largest thing in memory, so every block takes its input over: it is disposed of, or
 * overwritten, as soon as it has been read for the last time.
 */
import { dense } from "../../nn/layers.js";
import type { Params } from "../../nn/params.js";
import { attention } from "../../ops/attention.js";
import { groupNorm } from "../../ops/norm.js";
import { add } from "../../ops/pointwise.js";
import { reshape } from "../../ops/views.js";
import type { FloatDType } from "../../tensor/dtype.js";
import { scope } from "../../tensor/scope.js";
import type { Tensor } from "../../tensor/tensor.js";
import { normEps, type VaeConfig } from "./config.js";
import { causalConvolution } from "./convolution.js";

/**
 * Is shown intermediates under the places' names of the conformance cases (`dec.up_blocks.0`, …), [B, T, H, W, C], or
 * [B, S, C] after attention, each as soon as it is queued. The tensor is lent for the call: read() it there, or keep an
 * alias.
 */
export type Probe = (place: string, value: Tensor) => void;

/** What holds for one pass through encoder or decoder. */
export interface Pass {
  readonly config: VaeConfig;
  /** Whether gradients are recorded. */
  readonly recorded: boolean;
  readonly probe?: Probe | undefined;
  readonly onBlock?: ((block: string, value: Tensor) => void) | undefined;
}

/** Disposes of a tensor that has been read for the last time; hands on what was made of it. */
export function replaced<T extends Tensor>(old: Tensor, made: T): T {
  if (old !== made) old.dispose();
  return made;
}

/** GroupNorm, usually followed by SiLU. `over` may be written into, unless a gradient needs it or somebody looks at it. */
export function norm<D extends FloatDType>(
  { config, recorded, probe }: Pass,
  p: Params,
  x: Tensor<D>,
  { silu = true, over }: { readonly silu?: boolean; readonly over?: Tensor<D> | undefined } = {},
): Tensor<D> {
  const into = recorded || probe !== undefined ? undefined : over;
  const { normGroups: groups } = config;
  return groupNorm(x, { weight: p.get("weight"), bias: p.get("bias"), groups, eps: normEps, silu, into });
}

/** x + conv2(silu(norm2(conv1(silu(norm1(x)))))), with x through a 1 × 1 × 1 convolution where the width changes. */
export function resnet<D extends FloatDType>(pass: Pass, p: Params, x: Tensor<D>): Tensor<D> {
  const shortcut = p.find("conv_shortcut.conv.weight") === undefined ? undefined : p.at("conv_shortcut.conv");
  const residual = shortcut === undefined ? x : causalConvolution(shortcut, x);
  // With a shortcut x is read for the last time here: at the decoder's widest place that saves a fifth of all memory.
  let h = norm(pass, p.at("norm1"), x, { over: shortcut === undefined ? undefined : x });
  if (shortcut !== undefined) replaced(x, h);
  h = replaced(h, causalConvolution(p.at("conv1.conv"), h));
  h = replaced(h, norm(pass, p.at("norm2"), h, { over: h }));
  h = replaced(h, causalConvolution(p.at("conv2.conv"), h));
  const y = add(residual, h);
  h.dispose();
  return replaced(residual, y);
}

/** x + attention over all voxels with one head; a frame sees itself and the frames before it, whole. */
export function frameAttention<D extends FloatDType>(pass: Pass, p: Params, x: Tensor<D>): Tensor<D> {
  const [b = 0, t = 0, h = 0, w = 0, c = 0] = x.shape;
  const tokens = [b, t * h * w, c];
  const y = scope(() => {
    const normed = reshape(norm(pass, p.at("group_norm"), x, { silu: false }), tokens);
    const head = (name: string) => reshape(dense(p.at(name), normed), [b, t * h * w, 1, c]);
    const o = attention(head("to_q"), head("to_k"), head("to_v"), { frameTokens: h * w });
    const mixed = dense(p.at("to_out.0"), reshape(o, tokens), { residual: reshape(x, tokens) });
    return reshape(mixed, x.shape);
  });
  return replaced(x, y);
}

/** Two residual blocks with attention between them. */
export function midBlock<D extends FloatDType>(pass: Pass, p: Params, x: Tensor<D>, place: string): Tensor<D> {
  let y = resnet(pass, p.at("resnets.0"), x);
  pass.probe?.(`${place}.resnets.0`, y);
  if (pass.config.midAttention) {
    y = frameAttention(pass, p.at("attentions.0"), y);
    showTokens(pass, `${place}.attentions.0`, y);
  }
  return resnet(pass, p.at("resnets.1"), y);
}

function showTokens({ probe }: Pass, place: string, x: Tensor): void {
  if (probe === undefined) return;
  const tokens = reshape(x, [x.shape[0] ?? 0, -1, x.shape.at(-1) ?? 0]);
  probe(place, tokens);
  tokens.dispose();
}

/** The last norm and convolution. */
export function outputLayers<D extends FloatDType>(pass: Pass, p: Params, x: Tensor<D>, place: string): Tensor<D> {
  if (pass.probe !== undefined) {
    const normed = norm(pass, p.at("conv_norm_out"), x, { silu: false });
    pass.probe(`${place}.conv_norm_out`, normed);
    normed.dispose();
  }
  const normed = replaced(x, norm(pass, p.at("conv_norm_out"), x, { over: x }));
  return replaced(normed, causalConvolution(p.at("conv_out.conv"), normed));
}

/** Shows a block's result to whoever looks. */
export function show(pass: Pass, half: "encoder" | "decoder", block: string, value: Tensor): void {
  pass.onBlock?.(`${half}.${block}`, value);
  pass.probe?.(`${half === "encoder" ? "enc" : "dec"}.${block}`, value);
}
