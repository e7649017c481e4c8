/** Adapters as files that other tools load. */
import { saveSafetensors } from "../../io/safetensors-write.js";
import type { DitConfig } from "../../models/dit/config.js";
import { type DitLayout, ditNaming } from "../../models/dit/naming.js";
import type { LoraStyle } from "../../models/lora/styles.js";
import { type ForeignTensor, foreignTensors } from "../../nn/foreign.js";
import { concat } from "../../ops/concat.js";
import { cast, contiguous } from "../../ops/copy.js";
import { full } from "../../ops/fill.js";
import { mul } from "../../ops/pointwise.js";
import { reshape, slice } from "../../ops/views.js";
import { checkOneOf } from "../../tensor/check.js";
import type { FloatDType } from "../../tensor/dtype.js";
import { scope } from "../../tensor/scope.js";
import { withoutRecording } from "../../tensor/tape.js";
import type { Tensor } from "../../tensor/tensor.js";
import type { LoraAdapters, LoraLayer } from "./adapters.js";

export interface SaveLoraOptions {
  /** How keys are spelled: "kohya" is musubi-tuner's, "diffusers" what `load_lora_weights` reads. Default "kohya". */
  readonly style?: LoraStyle | undefined;
  /** Default: what the adapters are held in. */
  readonly dtype?: FloatDType | undefined;
  /** Free text, beside what the style has of its own. */
  readonly metadata?: Readonly<Record<string, string>> | undefined;
  readonly signal?: AbortSignal | undefined;
}

interface Spelling {
  readonly layout: DitLayout;
  readonly prefix: string;
  /** Dots of the module's name become underscores. */
  readonly flat: boolean;
  readonly down: string;
  readonly up: string;
  /** Whether files have an alpha; else it is in `up`. */
  readonly alpha: boolean;
}

const peft = { flat: false, down: "lora_A", up: "lora_B", alpha: false } as const;
const kohya = { flat: true, down: "lora_down", up: "lora_up", alpha: true } as const;

/** As lib/models/lora/styles.ts reads them. */
const spellings: { readonly [S in LoraStyle]: Spelling } = {
  original: { ...peft, layout: "tencent", prefix: "diffusion_model." },
  diffusers: { ...peft, layout: "diffusers", prefix: "transformer." },
  comfyui: { ...kohya, flat: false, layout: "comfyui", prefix: "diffusion_model." },
  kohya: { ...kohya, layout: "tencent", prefix: "lora_unet_" },
  onetrainer: { ...kohya, layout: "diffusers", prefix: "lora_transformer_" },
};

/**
 * Saves the adapters of a transformer. In diffusers' names a fused layer becomes several with one and the same A and their
 * rows of B, which is exact.
 *
 * @param path such as "colour.safetensors"
 * @returns the file that was written
 * @throws FILE_ERROR, ABORTED, INVALID_ARGUMENT; then no file is there
 * @example await saveLora("colour.safetensors", lora, dit.config, { style: "diffusers", dtype: "bf16" });
 */
export async function saveLora(
  path: string,
  lora: LoraAdapters,
  config: DitConfig,
  options: SaveLoraOptions = {},
): Promise<string> {
  const { style = "kohya", metadata = {}, signal } = options;
  checkOneOf("saveLora", "style", style, Object.keys(spellings));
  const spelling = spellings[style];
  const tensors = withoutRecording(() => scope(() => fileTensors(lora, config, spelling, options.dtype)));
  const named = new Map(Object.entries(tensors));
  for (const tensor of named.values()) tensor.moveTo(undefined);
  try {
    const notes = { ...(spelling.flat ? kohyaMetadata(lora) : { format: "pt" }), ...metadata };
    await saveSafetensors(path, named, notes, { signal, shardBytes: Number.POSITIVE_INFINITY });
    return path;
  } finally {
    for (const tensor of named.values()) tensor.dispose();
  }
}

/** What kohya's scripts and musubi-tuner write, and some tools show. */
function kohyaMetadata({ rank, alpha }: LoraAdapters): Record<string, string> {
  return { ss_network_module: "networks.lora", ss_network_dim: String(rank), ss_network_alpha: String(alpha) };
}

function fileTensors(
  { layers, alpha }: LoraAdapters,
  config: DitConfig,
  spelling: Spelling,
  dtype: FloatDType | undefined,
): Record<string, Tensor> {
  const naming = ditNaming(spelling.layout, config);
  const all: Record<string, Tensor> = {};
  for (const layer of layers) {
    const { spec, adapter } = layer;
    const as = dtype ?? adapter.up.dtype;
    for (const foreign of foreignTensors([spec], naming)) {
      const inner = foreign.name.replace(/\.weight$/, "");
      const module = spelling.prefix + (spelling.flat ? inner.replaceAll(".", "_") : inner);
      const up = cast(spelling.alpha ? adapter.up : mul(adapter.up, adapter.scale), as);
      all[`${module}.${spelling.down}.weight`] = downOf(layer, as);
      all[`${module}.${spelling.up}.weight`] = upOf(foreign, up, layer);
      if (spelling.alpha) all[`${module}.alpha`] = full([], alpha, { dtype: as, device: up.device });
    }
  }
  return all;
}

/** [rank, K], or as the kernel of a patch embedding's convolution [rank, I, t, h, w]. */
function downOf({ spec, adapter: { down } }: LoraLayer, dtype: FloatDType): Tensor {
  // A tensor of its own: neither cast nor reshape need make one, and the adapter's must live on.
  return reshape(cast(down, dtype), [down.shape[0] ?? 0, ...spec.shape.slice(1)]).alias();
}

/** The rows of B that belong to a foreign tensor, in its order. */
function upOf({ shape, parts }: ForeignTensor, up: Tensor, { spec }: LoraLayer): Tensor {
  const rows = parts.map(({ from, rows }) => slice(up, 0, from, from + rows));
  const [only] = rows;
  const joined = rows.length === 1 && only !== undefined ? contiguous(only) : concat(rows, 0);
  return reshape(joined, [shape[0] ?? 0, up.shape[1] ?? 0, ...spec.shape.slice(2).map(() => 1)]).alias();
}
