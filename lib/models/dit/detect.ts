/** Which transformer a checkpoint holds, from its keys and shapes alone: no weight is read. */
import type { Checkpoint, TensorEntry } from "../../io/tensor-file.js";
import type { Naming, ParameterSpec } from "../../nn/spec.js";
import { HunyuanError } from "../../runtime/errors.js";
import type { DType } from "../../tensor/dtype.js";
import { showShape } from "../../tensor/shape.js";
import { compareKeys, type KeyReport, listKeys } from "../key-report.js";
import { checkDitConfig, type DitConfig, ditPresets } from "./config.js";
import { type Fp8Kind, fp8KindOf, isFp8Extra, refuseWithoutMap } from "./fp8.js";
import { type DitHintOptions, hintsOf, imageConditionOf, releasedAxes } from "./hints.js";
import { isElsewhere, layoutOf } from "./layout.js";
import { type DitLayout, ditBlockPath, ditNaming } from "./naming.js";
import { ditSpec } from "./spec.js";

export interface DetectedDit {
  readonly config: DitConfig;
  readonly layout: DitLayout;
  readonly naming: Naming;
  /** What stands before every key. */
  readonly prefix: string;
  /** The parameters, as ditSpec gives them. */
  readonly specs: readonly ParameterSpec[];
  /** Type of the blocks' weights. */
  readonly dtype: DType;
  /** Whether and how weights are in f8e4m3. */
  readonly fp8: Fp8Kind;
  readonly report: KeyReport;
}

/** The most blocks of a kind that are believed; hostile files could name any number. */
const mostBlocks = 1024;

/**
 * What transformer this is. Refuses one that is incomplete or has keys this library knows no meaning for; examineDit()
 * reports those instead.
 *
 * @throws CHECKPOINT_INVALID when it is no HunyuanVideo transformer (the message says what it looks like), or with
 * `details.keys` when keys are missing, unknown or of the wrong shape; MODEL_UNSUPPORTED for variants that are not run
 * @example const { config, naming, specs } = detectDit(await openCheckpoint(path))
 */
export function detectDit(checkpoint: Checkpoint, options: DitHintOptions = {}): DetectedDit {
  const detected = examineDit(checkpoint, options);
  if (detected.fp8 === "map-missing") throw refuseWithoutMap(checkpoint);
  const { missing, unexpected, misshapen } = detected.report;
  const file = checkpoint.source;
  const refuse = (what: string, keys: readonly string[]) => {
    const message = `${file}: as a HunyuanVideo transformer in ${detected.layout} naming it ${what}`;
    return new HunyuanError("CHECKPOINT_INVALID", message, { file, keys });
  };
  const [wrong] = misshapen;
  if (wrong !== undefined) {
    const { key, expected, seen } = wrong;
    const others = misshapen.length > 1 ? `, and ${misshapen.length - 1} more are of wrong shapes` : "";
    const keys = misshapen.map((one) => one.key);
    throw refuse(`should have ${key} ${showShape(expected)}, but that is ${showShape(seen)}${others}`, keys);
  }
  if (missing.length > 0) throw refuse(`lacks ${listKeys(missing)}`, missing);
  if (unexpected.length > 0) {
    throw refuse(
      `has keys of an unknown meaning: ${listKeys(unexpected)}; a variant that is not supported?`,
      unexpected,
    );
  }
  return detected;
}

/**
 * The same with whatever is wrong with the keys reported, not thrown, as long as layout and configuration can be told.
 *
 * @throws CHECKPOINT_INVALID, MODEL_UNSUPPORTED
 */
export function examineDit(checkpoint: Checkpoint, options: DitHintOptions = {}): DetectedDit {
  const { layout, prefix } = layoutOf(checkpoint);
  const entries = checkpoint.entries;
  const normSuffix = entries.has(`${prefix}single_blocks.0.norm.query_norm.scale`) ? "scale" : "weight";
  const names = { prefix, normSuffix } as const;
  const config = configOf(checkpoint, layout, names, options);
  const naming = ditNaming(layout, config, names);
  const specs = ditSpec(config);
  const isOurs = (key: string) => (prefix === "" ? !isElsewhere(key) : key.startsWith(prefix)) && !isFp8Extra(key);
  return {
    config,
    layout,
    naming,
    prefix,
    specs,
    dtype: weightDType(entries, naming, specs),
    fp8: fp8KindOf(checkpoint),
    report: compareKeys(entries, naming, specs, isOurs),
  };
}

type Names = Parameters<typeof ditNaming>[2] & { readonly prefix: string };

function configOf(checkpoint: Checkpoint, layout: DitLayout, names: Names, options: DitHintOptions): DitConfig {
  const { source, entries } = checkpoint;
  // Names do not depend on the sizes, which are what is asked for here.
  const naming = ditNaming(layout, ditPresets.t2v, names);
  const find = (name: string): TensorEntry | undefined =>
    entries.get(naming({ name, shape: [1], layout: "same" })[0]?.key ?? "");
  const size = (name: string, axis: number, rank: number): number => {
    const entry = find(name);
    const value = entry?.shape[axis];
    if (entry !== undefined && entry.shape.length === rank && value !== undefined) return value;
    const key = naming({ name, shape: [1], layout: "same" })[0]?.key ?? name;
    const seen = entry === undefined ? "it is missing" : `it is ${showShape(entry.shape)}`;
    const message = `${source}: the model's sizes are told by ${key}, which should have ${rank} axes, but ${seen}`;
    throw new HunyuanError("CHECKPOINT_INVALID", message, { file: source, key });
  };
  const hiddenSize = size("img_in.proj.weight", 0, 5);
  const inChannels = size("img_in.proj.weight", 1, 5);
  const patch = (axis: number) => size("img_in.proj.weight", axis, 5);
  const patchSize = [patch(2), patch(3), patch(4)] as const;
  const outChannels = size("final_layer.linear.weight", 0, 2) / (patchSize[0] * patchSize[1] * patchSize[2]);
  const double = find("double_blocks.0.img_attn_q_norm.weight") !== undefined;
  const headDim = size(double ? "double_blocks.0.img_attn_q_norm.weight" : "single_blocks.0.q_norm.weight", 0, 1);
  const mlpSize = double
    ? size("double_blocks.0.img_mlp.fc1.weight", 0, 2)
    : size("single_blocks.0.linear2.weight", 1, 2) - hiddenSize;
  if (inChannels === 2 * outChannels) {
    const message = `${source}: takes ${inChannels} channels, which is SkyReels' way from image to video; this version has no such`;
    throw new HunyuanError("MODEL_UNSUPPORTED", message, { what: "SkyReels image to video" });
  }
  const hints = hintsOf(checkpoint, options);
  const config = {
    hiddenSize,
    numHeads: hiddenSize / headDim,
    ropeAxes: hints.ropeAxes ?? releasedAxes(source, headDim),
    ropeTheta: hints.ropeTheta ?? ditPresets.t2v.ropeTheta,
    numDoubleBlocks: countBlocks(checkpoint, names.prefix + ditBlockPath(layout, "double")),
    numSingleBlocks: countBlocks(checkpoint, names.prefix + ditBlockPath(layout, "single")),
    mlpRatio: ratioOf(mlpSize, hiddenSize),
    inChannels,
    outChannels,
    patchSize,
    textDim: size("txt_in.input_embedder.weight", 1, 2),
    pooledDim: size("vector_in.in_layer.weight", 1, 2),
    guidanceEmbed: find("guidance_in.mlp.0.weight") !== undefined,
    refinerDepth: countBlocks(checkpoint, names.prefix + ditBlockPath(layout, "refiner")),
    i2v: imageConditionOf(checkpoint, inChannels === 2 * outChannels + 1, hints.i2v),
  };
  checkDitConfig(config);
  return config;
}

/** So that mlpSize() gives back these rows, whatever the division rounds to. */
function ratioOf(rows: number, hiddenSize: number): number {
  const ratio = rows / hiddenSize;
  return Math.trunc(hiddenSize * ratio) === rows ? ratio : (rows + 0.5) / hiddenSize;
}

function countBlocks({ source, entries }: Checkpoint, path: string): number {
  let count = 0;
  for (const key of entries.keys()) {
    if (!key.startsWith(`${path}.`)) continue;
    const index = Number(/^\d+(?=\.)/.exec(key.slice(path.length + 1))?.[0] ?? Number.NaN);
    if (index >= mostBlocks) {
      const message = `${source}: ${key} is of block ${index}; more than ${mostBlocks} blocks are not believed`;
      throw new HunyuanError("CHECKPOINT_INVALID", message, { file: source, key });
    }
    if (index >= count) count = index + 1;
  }
  return count;
}

/** The commonest type of the matrices, which are nearly all of the bytes. */
function weightDType(entries: Checkpoint["entries"], naming: Naming, specs: readonly ParameterSpec[]): DType {
  const bytes = new Map<DType, number>();
  for (const spec of specs) {
    const entry = spec.shape.length === 2 ? entries.get(naming(spec)[0]?.key ?? "") : undefined;
    if (entry !== undefined)
      bytes.set(entry.dtype, (bytes.get(entry.dtype) ?? 0) + entry.shape.reduce((a, b) => a * b, 1));
  }
  return [...bytes].sort((a, b) => b[1] - a[1])[0]?.[0] ?? "f32";
}
