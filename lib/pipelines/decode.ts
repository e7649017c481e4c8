/** From latents to bytes, tile by tile. T latent frames of H × W latents. */
import { spread } from "../diffusion/finite.js";
import type { CausalVae } from "../models/vae/model.js";
import type { TilingOption } from "../models/vae/tiling.js";
import { cast } from "../ops/copy.js";
import { HunyuanError } from "../runtime/errors.js";
import type { FloatDType } from "../tensor/dtype.js";
import { scope } from "../tensor/scope.js";
import type { Tensor } from "../tensor/tensor.js";
import type { ComputeDType } from "./load-options.js";
import { readFrames } from "./video-bytes.js";

export interface DecodeOptions {
  readonly dtype: ComputeDType;
  readonly tiling: TilingOption;
  readonly signal: AbortSignal | undefined;
  readonly onTile: (tile: number, tiles: number) => void;
}

/**
 * RGB bytes of one video, frame after frame. Frames leave the device as soon as they are final.
 *
 * @param latents [1, T, H, W, C] as the transformer gave them; they stay the caller's
 * @throws NOT_FINITE, OUT_OF_MEMORY, ABORTED, INVALID_ARGUMENT for a tiling that is refused
 */
export async function decodeToBytes(
  vae: CausalVae,
  latents: Tensor<"f32">,
  options: DecodeOptions,
): Promise<Uint8Array> {
  const { dtype, tiling, signal, onTile } = options;
  using z = scope(() => cast(vae.unscaleLatents(latents), dtype));
  const parts: Uint8Array[] = [];
  const waiting = signal === undefined ? {} : { signal };
  const onProgress = ({ tile, tiles }: { readonly tile: number; readonly tiles: number }) => onTile(tile, tiles);
  for await (const frames of vae.decodeFrames<FloatDType>(z, { tiling, onProgress, ...waiting })) {
    using mine = frames;
    const bytes = await readFrames(mine, signal);
    if (bytes === undefined) throw await notFinite(vae, z, tiling, signal);
    parts.push(bytes);
  }
  const [only] = parts;
  return parts.length === 1 && only !== undefined ? only : joined(parts);
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Decodes again, looking at what each block gives. */
async function notFinite(
  vae: CausalVae,
  z: Tensor<FloatDType>,
  tiling: TilingOption,
  signal: AbortSignal | undefined,
): Promise<HunyuanError<"NOT_FINITE">> {
  const seen: { readonly block: string; readonly mark: Tensor }[] = [];
  const watch = (block: string, value: Tensor) => {
    const mark = spread(value as Tensor<FloatDType>);
    // Blocks compute in scopes of their own, which would end it with them.
    mark.moveTo(undefined);
    seen.push({ block, mark });
  };
  const waiting = signal === undefined ? {} : { signal };
  let first = "the autoencoder's decoder";
  try {
    watch("the latents", z);
    for await (const frames of vae.decodeFrames(z, { tiling, onBlock: watch, ...waiting })) frames.dispose();
    for (const { block, mark } of seen) {
      if (Number.isFinite(await mark.item(waiting))) continue;
      first = block;
      break;
    }
  } finally {
    for (const { mark } of seen) mark.dispose();
  }
  const message =
    `decode: NaN or infinity, first in ${first}. In f16 the autoencoder's values may overflow: load the model with ` +
    '{ vaeDtype: "bf16" } or "f32"; if that does not help, its weights are damaged';
  return new HunyuanError("NOT_FINITE", message, { block: first });
}
