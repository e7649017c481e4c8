/**
 * Transformers with weights in f8e4m3, as they are published.
 *
 * "scaled": a weight is its bytes times one f32 (absmax / 448). Tencent keeps the scales in a file of their own
 * (`…_fp8_map.pt`, module name → scale), ComfyUI beside the weights (`….scale_weight`, or `….weight_scale`). "plain": cast,
 * without scales. Either way the bytes stay as they are; scales become parameters `….weight_scale` [1].
 */
import type { Checkpoint, TensorEntry } from "../../io/tensor-file.js";
import type { Naming, ParameterSpec } from "../../nn/spec.js";
import { HunyuanError } from "../../runtime/errors.js";
import type { DType } from "../../tensor/dtype.js";
import { showShape, sizeOf } from "../../tensor/shape.js";

export type Fp8Kind =
  | "none"
  | "plain"
  | "scaled"
  /** Scaled, but the file with the scales is not there: such weights mean nothing. */
  | "map-missing";

const scaleSuffixes = [".weight_scale", ".scale_weight"] as const;

/** Keys of scales, and what ComfyUI notes beside them: markers, and scales of activations, which stay unquantised here. */
export function isFp8Extra(key: string): boolean {
  return /(^|\.)scaled_fp8$|\.(scale_weight|weight_scale|scale_input|input_scale|comfy_quant)$/.test(key);
}

/** Whether and how weights of a checkpoint are in f8e4m3. */
export function fp8KindOf({ entries, format }: Checkpoint): Fp8Kind {
  const all = [...entries.values()];
  if (!all.some(({ dtype, shape }) => dtype === "f8e4m3" && shape.length === 2)) return "none";
  if (all.some(({ name }) => scaleSuffixes.some((suffix) => name.endsWith(suffix)))) return "scaled";
  // Nobody publishes plain casts as torch files; Tencent's published one is scaled, and looks just so without its map.
  const marked = all.some(({ name }) => /(^|\.)scaled_fp8$/.test(name));
  return format === "torch" || marked ? "map-missing" : "plain";
}

/** Files that may hold the scales of a checkpoint file, the released spelling first. */
export function scaleMapCandidates(file: string): readonly string[] {
  const stem = file.replace(/\.[^.\\/]*$/, "");
  const folder = file.replace(/[^\\/]*$/, "");
  const own = [`${stem}_map.pt`, `${stem}_map.safetensors`];
  return /\.(pt|pth|bin)$/.test(file) ? [...own, `${folder}fp8_map.safetensors`] : own;
}

/** @throws CHECKPOINT_INVALID */
export function refuseWithoutMap({ source, files }: Checkpoint): HunyuanError<"CHECKPOINT_INVALID"> {
  const file = files[0] ?? source;
  const [expected = ""] = scaleMapCandidates(file);
  const name = expected.replace(/^.*[\\/]/, "");
  const message =
    `${file}: its weights are fp8 with a scale each, and the file with the scales is missing. Put ${name} beside it ` +
    "(it is published with the weights), or give { scaleMap }";
  return new HunyuanError("CHECKPOINT_INVALID", message, { file: expected });
}

/**
 * The checkpoint with its scales under one spelling, `<module>.weight_scale` [1], taken from a map if there is one. Scales
 * of weights that are not f8e4m3 are left out: they belong to no bytes here.
 *
 * @param prefix what stands before the keys of the weights, and may be missing in the map
 * @throws CHECKPOINT_INVALID when a weight has no scale, or a scale is no single number
 */
export function withScales(checkpoint: Checkpoint, prefix: string, map?: Checkpoint): Checkpoint {
  const scales = new Map<string, TensorEntry>();
  const entries = new Map<string, TensorEntry>();
  for (const [key, entry] of checkpoint.entries) {
    const suffix = scaleSuffixes.find((one) => key.endsWith(one));
    if (suffix !== undefined) scales.set(key.slice(0, -suffix.length), entry);
    else entries.set(key, entry);
  }
  for (const [key, entry] of map?.entries ?? []) {
    const module = key.replace(/^(module|model)\./, "").replace(/\.(weight|fp8_scale|weight_scale|scale_weight)$/, "");
    scales.set(prefix + module, entry);
  }
  if (scales.size === 0) return checkpoint;
  const without: string[] = [];
  for (const [key, { dtype, shape }] of checkpoint.entries) {
    if (dtype !== "f8e4m3" || shape.length !== 2 || !key.endsWith(".weight")) continue;
    const module = key.slice(0, -".weight".length);
    const scale = scales.get(module);
    if (scale === undefined) without.push(key);
    else entries.set(`${module}.weight_scale`, asScale(`${module}.weight_scale`, scale));
  }
  const [first] = without;
  if (first !== undefined) {
    const file = map?.source ?? checkpoint.source;
    const message = `${file}: ${without.length} fp8 weights have no scale, the first is ${first}; a map of another model?`;
    throw new HunyuanError("CHECKPOINT_INVALID", message, { file, keys: without });
  }
  return { ...checkpoint, entries, files: [...new Set([...checkpoint.files, ...(map?.files ?? [])])] };
}

function asScale(name: string, entry: TensorEntry): TensorEntry {
  if (sizeOf(entry.shape) === 1) return { ...entry, name, shape: [1] };
  const message = `${entry.file}: ${entry.name} is ${showShape(entry.shape)}, expected one number: the scale of a whole weight`;
  throw new HunyuanError("CHECKPOINT_INVALID", message, { file: entry.file, key: entry.name });
}

export interface Fp8Plan {
  /** The parameters, with the scales among them. */
  readonly specs: readonly ParameterSpec[];
  /** For loadParams: what is kept in a type of its own. */
  readonly keep: (spec: ParameterSpec) => DType | undefined;
}

/**
 * Which weights stay in f8e4m3, and the scales as parameters of their own. Vectors and the patch embedding have no kernels
 * for it and are loaded in the compute type.
 *
 * @param checkpoint as withScales() gives it
 * @throws MODEL_UNSUPPORTED for scaled weights that a layout keeps in several pieces, each with its own scale
 */
export function planFp8({ source, entries }: Checkpoint, naming: Naming, specs: readonly ParameterSpec[]): Fp8Plan {
  const kept = new Map<string, DType>();
  const planned: ParameterSpec[] = [];
  for (const spec of specs) {
    planned.push(spec);
    const keys = [...new Set(naming(spec).map((piece) => piece.key))];
    if (!keys.every((key) => entries.get(key)?.dtype === "f8e4m3")) continue;
    const scaled = keys.some((key) => key.endsWith(".weight") && entries.has(scaleKey(key)));
    const isMatrix = spec.shape.length === 2 && spec.layout === "same";
    if (scaled && (keys.length > 1 || !isMatrix)) {
      const why = isMatrix ? "in pieces with a scale each" : "scaled, but no matrix";
      const message = `${source}: ${spec.name} is fp8 ${why}, which this version does not run`;
      throw new HunyuanError("MODEL_UNSUPPORTED", message, { what: `fp8 weight ${spec.name}` });
    }
    if (!isMatrix) continue;
    kept.set(spec.name, "f8e4m3");
    if (!scaled) continue;
    const name = scaleKey(spec.name);
    kept.set(name, "f32");
    planned.push({ name, shape: [1], layout: "same" });
  }
  return { specs: planned, keep: ({ name }) => kept.get(name) };
}

/** Of a key that ends in "weight". */
const scaleKey = (key: string): string => key.replace(/weight$/, "weight_scale");
