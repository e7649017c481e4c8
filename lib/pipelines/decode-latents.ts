/** The decoder alone: from latents that were made before to a video. */
import type { TilingOption } from "../models/vae/tiling.js";
import { cast } from "../ops/copy.js";
import { contiguous } from "../ops/layout.js";
import { permute } from "../ops/views.js";
import { HunyuanError } from "../runtime/errors.js";
import { isFloat } from "../tensor/dtype.js";
import { scope } from "../tensor/scope.js";
import { showShape } from "../tensor/shape.js";
import { Tensor } from "../tensor/tensor.js";
import { decodeToBytes } from "./decode.js";
import { readLatents, type StoredLatents } from "./latents-file.js";
import type { LoadedModel } from "./loaded-model.js";
import { type DecodeEvent, Pace } from "./progress.js";
import { Video } from "./video.js";

export interface DecodeLatentsOptions {
  /** Frames per second of the video. Default: what the latents' file says, else the model's own. */
  readonly fps?: number;
  /** Default "auto". */
  readonly tiling?: TilingOption;
  readonly signal?: AbortSignal | undefined;
  /** Steps are tiles. */
  readonly onProgress?: ((event: DecodeEvent) => void) | undefined;
}

const op = "decodeLatents";

/** @throws see HunyuanVideo.decodeLatents */
export async function decodeStored(
  model: LoadedModel,
  given: Tensor | string,
  { fps, tiling = "auto", signal, onProgress }: DecodeLatentsOptions,
): Promise<Video> {
  const { device, vae, dtypes, defaults } = model;
  const stored = given instanceof Tensor ? fromTensor(given) : await readLatents(given, device, signal);
  using latents = stored.latents;
  const [batch = 0, , height = 0, width = 0, channels = 0] = latents.shape;
  const { spatialRatio, latentChannels } = vae.config;
  if (batch !== 1 || channels !== latentChannels) {
    const seen = showShape([batch, channels, ...latents.shape.slice(1, 4)]);
    const message = `${op}: latents are ${seen}, expected [1, ${latentChannels}, T, H, W]`;
    throw new HunyuanError("SHAPE_MISMATCH", message, { op, argument: "latents", shapes: [latents.shape] });
  }
  const pace = new Pace();
  const data = await decodeToBytes(vae, latents, {
    dtype: dtypes.vae,
    tiling,
    signal,
    onTile: (step, steps) => onProgress?.({ stage: "decode", video: 0, step, steps, etaMs: pace.eta(step, steps) }),
  });
  const size = { width: width * spatialRatio, height: height * spatialRatio };
  return new Video(data, size, { ...stored.notes, fps: fps ?? stored.notes.fps ?? defaults.fps });
}

function fromTensor(given: Tensor): StoredLatents {
  if (given.rank !== 5 || !isFloat(given.dtype)) {
    const message = `${op}: latents are ${given.dtype} ${showShape(given.shape)}, expected floats [1, C, T, H, W]`;
    throw new HunyuanError("SHAPE_MISMATCH", message, { op, argument: "latents", shapes: [given.shape] });
  }
  const latents = scope(() => contiguous(permute(cast(given, "f32"), [0, 2, 3, 4, 1])));
  return { latents, notes: { settings: {} } };
}
