/** What a checkpoint or a folder of them is, from names, shapes and types: no weight is read. */
import { openCheckpoint } from "../io/checkpoint.js";
import type { Checkpoint, CheckpointFormat } from "../io/tensor-file.js";
import { isHunyuanError } from "../runtime/errors.js";
import type { DType } from "../tensor/dtype.js";
import { type Shape, sizeOf } from "../tensor/shape.js";
import { type Findings, findingsOf, type LoraReport } from "./checkpoint-findings.js";
import { type ModelDefaults, modelDefaults } from "./defaults.js";
import { type Fp8Kind, isFp8Extra } from "./dit/fp8.js";
import type { DitHintOptions } from "./dit/hints.js";
import type { DitLayout } from "./dit/naming.js";
import { describeFamily, familyOf, type ModelPart } from "./families.js";
import type { KeyReport } from "./key-report.js";
import { licenceOf, licenceOfCard, type StatedLicence } from "./licences.js";
import { findModelParts, isModelFolder, type ModelLayout, type ModelPathName } from "./model-folder.js";

export interface DTypeReport {
  readonly dtype: DType;
  readonly tensors: number;
  readonly parameters: number;
  readonly bytes: number;
}

export interface CheckpointReport extends KeyReport {
  /** What was opened. */
  readonly path: string;
  /** Of which part it holds the weights; undefined when that is none of ours. */
  readonly part: ModelPart | undefined;
  /** In words: "HunyuanVideo transformer", "its keys are those of: Flux". */
  readonly what: string;
  /** Of a transformer: "text to video, guidance as an input". */
  readonly variant: string | undefined;
  /** Of a transformer: whose spelling the keys have. */
  readonly layout: DitLayout | undefined;
  /** Sizes, as the part's own configuration names them. */
  readonly config: object | undefined;
  readonly fp8: Fp8Kind | undefined;
  readonly lora: LoraReport | undefined;
  readonly format: CheckpointFormat;
  readonly files: readonly string[];
  /** Numbers in all tensors; scales of fp8 weights are not counted. */
  readonly parameters: number;
  /** Of all tensors, in the files. */
  readonly bytes: number;
  /** The largest first. */
  readonly dtypes: readonly DTypeReport[];
  readonly tensors: readonly { readonly name: string; readonly dtype: DType; readonly shape: Shape }[];
  readonly licence: string | undefined;
  /** Why it cannot be used as it is, in sentences. */
  readonly problems: readonly string[];
}

export interface ModelReport {
  readonly root: string;
  readonly layout: ModelLayout;
  readonly parts: { readonly [name in ModelPathName]?: CheckpointReport | undefined };
  /** Paths of what has no tensors: tokenizers, the scheduler. */
  readonly others: { readonly [name in ModelPathName]?: string };
  /** What requests take where they say nothing; undefined where the folder's file of them is wrong. */
  readonly defaults: ModelDefaults | undefined;
  /** What a prompt needs and is not there. */
  readonly missing: readonly ModelPathName[];
  readonly problems: readonly string[];
}

interface InspectOptions extends DitHintOptions {
  /** What the card of the model says that the checkpoint is of. */
  readonly licence?: StatedLicence | undefined;
}

/**
 * What a file, an index or a folder with one checkpoint is.
 *
 * @throws FILE_ERROR, CHECKPOINT_INVALID for what cannot be read as a checkpoint at all; what is merely wrong for a model
 * stands in the report
 * @example (await inspectCheckpoint("hunyuan_video_t2v_720p_bf16.safetensors")).layout // "tencent"
 */
export async function inspectCheckpoint(path: string, options: InspectOptions = {}): Promise<CheckpointReport> {
  const checkpoint = await openCheckpoint(path);
  const keys = [...checkpoint.entries.keys()];
  const family = familyOf(keys);
  const found: Findings = await findingsOf(checkpoint, family?.part, options).catch((error): Findings => {
    if (isHunyuanError(error)) return { problems: [error.message] };
    throw error;
  });
  const dtypes = countDTypes(checkpoint);
  const parameters = dtypes.reduce((sum, one) => sum + one.parameters, 0);
  const { missing = [], misshapen = [], unexpected = [] } = found.report ?? {};
  return {
    path: checkpoint.source,
    part: family?.part,
    what: family?.part === undefined ? describeFamily(keys) : family.name,
    variant: found.variant,
    layout: found.layout,
    config: found.config,
    fp8: found.fp8,
    lora: found.lora,
    format: checkpoint.format,
    files: checkpoint.files,
    parameters,
    bytes: dtypes.reduce((sum, { bytes }) => sum + bytes, 0),
    dtypes,
    tensors: [...checkpoint.entries.values()].map(({ name, dtype, shape }) => ({ name, dtype, shape })),
    missing,
    unexpected,
    misshapen,
    licence: licenceOf(family?.part, { metadata: checkpoint.metadata, card: options.licence, parameters }),
    problems: [...(found.problems ?? []), ...problemsOf(found.report, family?.part)],
  };
}

function problemsOf(report: KeyReport | undefined, part: ModelPart | undefined): string[] {
  if (report === undefined) return [];
  const counts: [readonly unknown[], string][] = [
    [report.missing, "missing"],
    [report.misshapen, "of a wrong shape"],
    [report.unexpected, part === "lora" ? "without a place in the model" : "of an unknown meaning"],
  ];
  return counts.flatMap(([list, what]) =>
    list.length === 0 ? [] : [`${list.length} key${list.length === 1 ? " is" : "s are"} ${what}`],
  );
}

function countDTypes({ entries }: Checkpoint): DTypeReport[] {
  const counts = new Map<DType, { tensors: number; parameters: number; bytes: number }>();
  for (const { name, dtype, shape, bytes } of entries.values()) {
    const count = counts.get(dtype) ?? { tensors: 0, parameters: 0, bytes: 0 };
    count.tensors++;
    count.bytes += bytes;
    if (!isFp8Extra(name)) count.parameters += sizeOf(shape);
    counts.set(dtype, count);
  }
  return [...counts].map(([dtype, count]) => ({ dtype, ...count })).sort((a, b) => b.bytes - a.bytes);
}

const checkpoints = ["transformer", "vae", "llama", "clip"] as const;
const needed = [...checkpoints, "llamaTokenizer", "clipTokenizer"] as const;

/**
 * What the parts of a whole model are.
 *
 * @throws FILE_ERROR; CHECKPOINT_INVALID when there is no part of a model
 * @example (await inspectModel("./HunyuanVideo")).missing // []
 */
export async function inspectModel(path: string, options: DitHintOptions = {}): Promise<ModelReport> {
  const found = await findModelParts(path);
  const problems: string[] = [];
  const parts: { [name in ModelPathName]?: CheckpointReport } = {};
  const licence = await licenceOfCard(found.root);
  for (const name of checkpoints) {
    const at = found[name];
    if (at === undefined) continue;
    try {
      const report = await inspectCheckpoint(at, { ...options, licence });
      parts[name] = report;
      if (report.part !== name) problems.push(`${at}: expected the ${name}, but ${report.what}`);
      problems.push(...report.problems.map((problem) => `${name}: ${problem}`));
    } catch (error) {
      if (!isHunyuanError(error)) throw error;
      problems.push(`${name}: ${error.message}`);
    }
  }
  for (const [name, files] of found.ambiguous) problems.push(`${name}: several files could be it: ${files.join(", ")}`);
  const others = Object.fromEntries(
    (["llamaTokenizer", "clipTokenizer", "scheduler"] as const).flatMap((name) =>
      found[name] === undefined ? [] : [[name, found[name]]],
    ),
  );
  const missing = needed.filter((name) => found[name] === undefined);
  const { root, layout } = found;
  const defaults = await modelDefaults(root, { i2v: undefined, ...parts.transformer?.config }).catch((error) => {
    if (!isHunyuanError(error)) throw error;
    problems.push(error.message);
    return undefined;
  });
  return { root, layout, parts, others, defaults, missing, problems };
}

/**
 * Whichever of both a path is.
 *
 * @throws FILE_ERROR, CHECKPOINT_INVALID
 * @example const report = await inspectPath(path); if ("parts" in report) report.missing; else report.variant;
 */
export async function inspectPath(path: string, options: DitHintOptions = {}): Promise<CheckpointReport | ModelReport> {
  return (await isModelFolder(path)) ? inspectModel(path, options) : inspectCheckpoint(path, options);
}
