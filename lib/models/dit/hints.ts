/** What keys and shapes do not tell of a transformer: said by the caller, a config.json, the file's metadata or its name. */
import type { Checkpoint } from "../../io/tensor-file.js";
import { HunyuanError } from "../../runtime/errors.js";
import { type DitConfig, ditPresets, type ImageCondition } from "./config.js";

export interface DitHintOptions {
  /**
   * How an image enters the model. Default: what configJson, the file's metadata or its name say. "latent_concat" is seen
   * in the shapes; "token_replace" is not, its weights look like those of text to video.
   */
  readonly i2v?: ImageCondition | "none" | undefined;
  /** Widths of a head that turn with frame, row, column. Default: what configJson says; 16, 56, 56 for heads of 128. */
  readonly ropeAxes?: DitConfig["ropeAxes"] | undefined;
  /** config.json of a diffusers transformer, parsed: what keys and shapes do not tell is taken from it. */
  readonly configJson?: unknown;
}

/** Where files that this library saves keep the configuration, as JSON of a DitConfig. */
export const ditMetadataKey = "hunyuan_native.transformer";

export interface DitHints {
  readonly ropeAxes?: DitConfig["ropeAxes"] | undefined;
  readonly ropeTheta?: number | undefined;
  readonly i2v?: ImageCondition | "none" | undefined;
}

/** What is said of the model beside its tensors: by the caller, else config.json, else the file's metadata. */
export function hintsOf({ metadata }: Checkpoint, options: DitHintOptions): DitHints {
  const given = hintsOfJson(options.configJson, "rope_axes_dim", "rope_theta", "image_condition_type");
  const saved = hintsOfJson(parsed(metadata.get(ditMetadataKey)), "ropeAxes", "ropeTheta", "i2v");
  return {
    ropeAxes: options.ropeAxes ?? given.ropeAxes ?? saved.ropeAxes,
    ropeTheta: given.ropeTheta ?? saved.ropeTheta,
    i2v: options.i2v ?? given.i2v ?? saved.i2v,
  };
}

function parsed(text: string | undefined): unknown {
  try {
    return text === undefined ? undefined : JSON.parse(text);
  } catch {
    return undefined; // metadata are anybody's text
  }
}

function hintsOfJson(json: unknown, axesKey: string, thetaKey: string, i2vKey: string): DitHints {
  if (typeof json !== "object" || json === null) return {};
  const values = new Map<string, unknown>(Object.entries(json));
  const axes = values.get(axesKey);
  const [t, h, w, ...more] = Array.isArray(axes) ? axes.map(Number) : [];
  const theta = values.get(thetaKey);
  const i2v = values.get(i2vKey);
  return {
    ropeAxes: t !== undefined && h !== undefined && w !== undefined && more.length === 0 ? [t, h, w] : undefined,
    ropeTheta: typeof theta === "number" ? theta : undefined,
    i2v: i2v === "token_replace" || i2v === "latent_concat" ? i2v : i2v === null ? "none" : undefined,
  };
}

export function imageConditionOf({ source }: Checkpoint, concat: boolean, hint: DitHints["i2v"]): DitConfig["i2v"] {
  if (concat) return "latent_concat";
  if (hint === "latent_concat") {
    const message = `${source}: image to video by latent_concat takes 33 channels, and these weights take as many as they give`;
    throw new HunyuanError("CHECKPOINT_INVALID", message, { file: source });
  }
  if (hint !== undefined) return hint === "none" ? undefined : hint;
  const name = source.split(/[\\/]/).slice(-3).join("/").toLowerCase();
  return /(^|[^a-z])(i2v|image[-_]?to[-_]?video)([^a-z]|$)/.test(name) ? "token_replace" : undefined;
}

export function releasedAxes(file: string, headDim: number): DitConfig["ropeAxes"] {
  if (headDim === 128) return ditPresets.t2v.ropeAxes;
  const message =
    `${file}: its heads are ${headDim} wide, and how they divide among frames, rows and columns is not in the weights; ` +
    "give { ropeAxes }, or a config.json with rope_axes_dim beside the file";
  throw new HunyuanError("CHECKPOINT_INVALID", message, { file });
}
