/** What a forward pass takes, and the checks of it. */
import type { RopeTables } from "../../ops/rope.js";
import { HunyuanError } from "../../runtime/errors.js";
import { checkTensors, checkWholes, invalid } from "../../tensor/check.js";
import type { FloatDType } from "../../tensor/dtype.js";
import { sameShape, showShape } from "../../tensor/shape.js";
import type { Tensor } from "../../tensor/tensor.js";
import type { DitConfig } from "./config.js";

/** B batch, T H W frames, rows and columns of latents, L text tokens. */
export interface DitInput<D extends FloatDType = FloatDType> {
  /**
   * [B, T, H, W, inChannels], H and W even, any T; one frame is an image. Their type is that of the computation. With
   * "token_replace" the first frame is the image; with "latent_concat" channels are noise, image and mask.
   */
  readonly latents: Tensor<D>;
  /** [B], in 0 … 1000. */
  readonly timestep: Tensor<"f32">;
  /** The language model's states, [B, L, textDim], padding last. */
  readonly text: Tensor<FloatDType>;
  /** How many of the L are text, for each sample. What the others hold has no effect. */
  readonly textLengths: readonly number[];
  /** CLIP's pooled state, [B, pooledDim]. */
  readonly pooled: Tensor<FloatDType>;
  /** [B]: the guidance scale × 1000. Needed by models with `guidanceEmbed`, left unread by others. */
  readonly guidance?: Tensor<"f32"> | undefined;
  /** What `ropeTables` gives for these latents, where it is at hand from an earlier step. */
  readonly ropeTables?: RopeTables | undefined;
}

const op = "HunyuanDit.forward";

/** @throws INVALID_ARGUMENT, SHAPE_MISMATCH unless the inputs fit the configuration and each other */
export function checkDitInput(config: DitConfig, input: DitInput): void {
  const { latents, timestep, text, textLengths, pooled, guidance } = input;
  checkTensors(op, { latents, timestep, text, pooled });
  const [batch = 0, t = 0, h = 0, w = 0] = latents.shape;
  if (h % 2 !== 0 || w % 2 !== 0) throw mismatch("latents", latents, "[B, T, H, W, C] with even H and W");
  expectShape("latents", latents, [batch, t, h, w, config.inChannels]);
  expectShape("timestep", timestep, [batch]);
  const length = text.shape[1] ?? 0;
  expectShape("text", text, [batch, length, config.textDim]);
  expectShape("pooled", pooled, [batch, config.pooledDim]);
  checkWholes(op, "textLengths", textLengths, batch, 0);
  if (textLengths.some((n) => n > length)) {
    throw invalid(op, "textLengths", textLengths, `at most ${length} each (text is ${showShape(text.shape)})`);
  }
  if (!config.guidanceEmbed) return;
  if (guidance === undefined) throw invalid(op, "guidance", guidance, "[B], the scale × 1000: this model takes it");
  expectShape("guidance", guidance, [batch]);
}

function expectShape(argument: string, seen: Tensor, expected: readonly number[]): void {
  if (!sameShape(seen.shape, expected)) throw mismatch(argument, seen, showShape(expected));
}

function mismatch(argument: string, { shape }: Tensor, expected: string): HunyuanError<"SHAPE_MISMATCH"> {
  const message = `${op}: ${argument} is ${showShape(shape)}, expected ${expected}`;
  return new HunyuanError("SHAPE_MISMATCH", message, { op, argument, shapes: [shape] });
}
