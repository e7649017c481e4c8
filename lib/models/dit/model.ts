/**
 * HunyuanVideo's transformer: from noisy latents, a timestep and text to the velocity between noise and data.
 *
 * B batch, T H W frames, rows and columns of latents, S = T · H/2 · W/2 video tokens, L text tokens, C hidden size.
 *
 * Source: Kong et al., "HunyuanVideo: A Systematic Framework For Large Video Generative Models" (arXiv 2412.03603).
 */
import type { Params } from "../../nn/params.js";
import { concat } from "../../ops/concat.js";
import { cast } from "../../ops/copy.js";
import { zerosLike } from "../../ops/fill.js";
import { unpatchify } from "../../ops/layout.js";
import { add } from "../../ops/pointwise.js";
import { type RopeTables, ropeTables3d } from "../../ops/rope.js";
import { silu } from "../../ops/unary.js";
import { slice } from "../../ops/views.js";
import type { Device } from "../../runtime/device.js";
import type { FloatDType } from "../../tensor/dtype.js";
import { scope } from "../../tensor/scope.js";
import type { Tensor } from "../../tensor/tensor.js";
import { doubleBlock, finalLayer, type Part, singleBlock } from "./blocks.js";
import { type Block, checkpointed } from "./checkpointed.js";
import { checkDitConfig, type DitConfig } from "./config.js";
import { embedNumber, embedPatches, embedPooled } from "./embed.js";
import { checkDitInput, type DitInput } from "./input.js";
import type { AttentionLayout } from "./joint-attention.js";
import { type Probe, showJoined } from "./probe.js";
import { refineText } from "./refiner.js";
import { type Conditions, firstTokens, replaced, segmentEnds, videoParts, withTextJoined } from "./sequence.js";

export type { DitInput } from "./input.js";
export type { Probe } from "./probe.js";

export interface DitOptions {
  /**
   * Records each block for gradients as one step that is computed again in the backward pass: what lies between blocks is
   * all that is kept. For training; default false.
   */
  readonly checkpoint?: boolean | undefined;
  /** Sees intermediates, under the conformance cases' names. */
  readonly probe?: Probe | undefined;
  /**
   * Called after each block ("img_in", "txt_in", "double_blocks.0", …, "final_layer") with what it gave, lent for the
   * call: for a guard that names the block where values turn infinite.
   */
  readonly onBlock?: ((block: string, values: readonly Tensor<FloatDType>[]) => void) | undefined;
}

/**
 * The transformer over parameters under the released names.
 *
 * @example
 * const dit = new HunyuanDit(ditPresets.t2v, params);
 * const velocity = dit.forward({ latents, timestep, text, textLengths: [61], pooled, guidance });
 */
export class HunyuanDit {
  readonly config: DitConfig;
  readonly params: Params;

  /** @throws MODEL_UNSUPPORTED for a configuration that this library does not run */
  constructor(config: DitConfig, params: Params) {
    checkDitConfig(config);
    this.config = config;
    this.params = params;
  }

  /** The rotation of the video tokens of latents [B, T, H, W, …]: the same in each step. */
  ropeTables(latentShape: readonly number[], device: Device): RopeTables {
    const [t = 0, h = 0, w = 0] = latentShape.slice(1);
    const { ropeAxes: axes, ropeTheta: theta } = this.config;
    return ropeTables3d({ t, h: h / 2, w: w / 2 }, { axes, theta, device });
  }

  /**
   * The velocity at a timestep, noise − data, [B, T, H, W, outChannels]. Everything is queued when it returns.
   *
   * @throws INVALID_ARGUMENT, SHAPE_MISMATCH, DTYPE_UNSUPPORTED for inputs that do not fit the configuration or each other
   * @throws CHECKPOINT_INVALID when a parameter is missing
   */
  forward<D extends FloatDType>(input: DitInput<D>, options: DitOptions = {}): Tensor<D> {
    checkDitInput(this.config, input);
    const { probe, onBlock, checkpoint = false } = options;
    const run = checkpoint ? checkpointed : atOnce;
    const { config, params: p } = this;
    const { latents, textLengths } = input;
    const [, t = 0, h = 0, w = 0] = latents.shape;
    const frameTokens = (h * w) / 4;
    const videoTokens = t * frameTokens;
    return scope(() => {
      const cond = this.#conditions(input, probe);
      const rope = input.ropeTables ?? this.ropeTables(latents.shape, latents.device);
      const layout = {
        numHeads: config.numHeads,
        cuSeqlens: segmentEnds(videoTokens, textLengths, latents.device),
      };
      let parts = this.#embed(input, cond, rope, options);
      for (let i = 0; i < config.numDoubleBlocks; i++) {
        const block = p.at(`double_blocks.${i}`);
        parts = advanced(
          parts,
          run((given, how) => doubleBlock(block, given, how, probe), parts, layout),
        );
        const streams = parts.map(({ x }) => x);
        onBlock?.(block.path, streams);
        showJoined(probe, `${block.path}.img`, streams.slice(0, -1));
        showJoined(probe, `${block.path}.txt`, streams.slice(-1));
      }
      parts = withTextJoined(parts);
      for (let i = 0; i < config.numSingleBlocks; i++) {
        const block = p.at(`single_blocks.${i}`);
        parts = advanced(
          parts,
          run((given, how) => singleBlock(block, given, how, probe), parts, layout),
        );
        const tokens = parts.map(({ x }) => x);
        onBlock?.(block.path, tokens);
        showJoined(probe, block.path, tokens);
      }
      const patches = firstTokens(parts, videoTokens).map((x) => finalLayer(p.at("final_layer"), x, cond.all));
      onBlock?.("final_layer", patches);
      showJoined(probe, "final_layer", patches);
      return unpatchify(joined(patches), [t, h, w]);
    });
  }

  /** The conditioning vectors, SiLU applied: every use of them begins with it. */
  #conditions<D extends FloatDType>(input: DitInput<D>, probe: Probe | undefined): Conditions<D> {
    const { guidanceEmbed, i2v } = this.config;
    const { latents, timestep, guidance } = input;
    const { dtype } = latents;
    const p = this.params;
    return scope(() => {
      const pooled = embedPooled(p.at("vector_in"), cast(input.pooled, dtype), probe);
      let vec = add(embedNumber(p.at("time_in"), timestep, dtype, probe), pooled);
      if (guidanceEmbed && guidance !== undefined) {
        vec = add(vec, embedNumber(p.at("guidance_in"), guidance, dtype, probe));
      }
      probe?.("vec", vec);
      if (i2v !== "token_replace") return { all: silu(vec) };
      // The first frame is clean: its tokens are at timestep 0, and no guidance.
      const clean = add(embedNumber(p.at("time_in"), zerosLike(timestep), dtype, probe), pooled);
      return { all: silu(vec), firstFrame: silu(clean) };
    });
  }

  /** Latents and text as tokens. */
  #embed<D extends FloatDType>(
    input: DitInput<D>,
    cond: Conditions<D>,
    rope: RopeTables,
    { probe, onBlock }: DitOptions,
  ): Part<D>[] {
    const { latents, textLengths, timestep } = input;
    const { numHeads, refinerDepth: depth } = this.config;
    const p = this.params;
    return scope(() => {
      const img = embedPatches(p.at("img_in"), latents, probe);
      onBlock?.("img_in", [img]);
      const txt = scope(() => {
        // Padding that all samples have is cut away.
        const text = cast(slice(input.text, 1, 0, Math.max(0, ...textLengths)), latents.dtype);
        const layout = { numHeads, cuSeqlens: segmentEnds(0, textLengths, latents.device) };
        return refineText(p.at("txt_in"), { text, textLengths, timestep, depth, layout }, probe);
      });
      onBlock?.("txt_in", [txt]);
      const [, , h = 0, w = 0] = latents.shape;
      return [...videoParts(img, cond, rope, (h * w) / 4), { stream: "txt", x: txt, cond: cond.all }];
    });
  }
}

function atOnce<D extends FloatDType>(
  block: Block<D>,
  parts: readonly Part<D>[],
  layout: AttentionLayout,
): Tensor<D>[] {
  return block(parts, layout);
}

/** The parts after a block; the tokens before it make room. */
function advanced<D extends FloatDType>(parts: readonly Part<D>[], tokens: readonly Tensor<D>[]): Part<D>[] {
  for (const { x } of parts) x.dispose();
  return replaced(parts, tokens);
}

function joined<D extends FloatDType>(parts: readonly Tensor<D>[]): Tensor<D> {
  const [only] = parts;
  return parts.length === 1 && only !== undefined ? only : concat(parts, 1);
}
