/** LoRA files, understood: which rows of which parameters they change, and by which tensors. No weight is read. */
import { openCheckpoint } from "../../io/checkpoint.js";
import { withFile } from "../../io/file-reader.js";
import type { Checkpoint, TensorEntry } from "../../io/tensor-file.js";
import type { ForeignTensor } from "../../nn/foreign.js";
import { HunyuanError } from "../../runtime/errors.js";
import { dtypes } from "../../tensor/dtype.js";
import { showShape, sizeOf } from "../../tensor/shape.js";
import type { DitConfig } from "../dit/config.js";
import { describeFamily } from "../families.js";
import { alphaOfMetadata, numberIn } from "./alpha.js";
import {
  findLoraModule,
  type LoraModules,
  type LoraRole,
  type LoraStyle,
  loraModules,
  loraStyleOf,
  parseLoraKey,
} from "./styles.js";

/** A change of some rows of a parameter, all that the five styles come down to. */
export interface LoraTerm {
  /** Under its released name. */
  readonly parameter: string;
  /** The first of the parameter's rows that change, and how many do. */
  readonly from: number;
  readonly rows: number;
  /** scale · up · down: `up` [≥ rows, rank], of which rows from `upFrom` on; `down` [rank, the rest of the parameter]. */
  readonly product?:
    | {
        readonly up: TensorEntry;
        readonly upFrom: number;
        readonly down: TensorEntry;
        readonly rank: number;
        /** alpha / rank; 1 where the file has no alpha. */
        readonly scale: number;
      }
    | undefined;
  /** Or the change itself, of which rows from `diffFrom` on. */
  readonly diff?: { readonly entry: TensorEntry; readonly diffFrom: number } | undefined;
}

export interface Lora {
  /** The file. */
  readonly source: string;
  readonly style: LoraStyle;
  readonly terms: readonly LoraTerm[];
  /** The largest rank of its modules; 0 where it has only whole changes. */
  readonly rank: number;
  /** Keys that this model has no place for. */
  readonly unmatched: readonly string[];
}

export interface LoadLoraOptions {
  /** Default true: keys that do not fit the model are an error. false: they are listed in `unmatched`. */
  readonly strict?: boolean;
}

/**
 * Reads what a LoRA changes in a transformer.
 *
 * @throws CHECKPOINT_INVALID with `details.keys` for keys without a place in the model (unless `strict: false`), for halves
 * of a pair, shapes of another model, and files that are no LoRA; MODEL_UNSUPPORTED for DoRA, LoHa, LoKr and the like
 * @example const lora = await loadLora("style.safetensors", config, { strict: false });
 */
export async function loadLora(path: string, config: DitConfig, options: LoadLoraOptions = {}): Promise<Lora> {
  return readLora(await openCheckpoint(path), config, options);
}

/** The same for a checkpoint that is open. */
export async function readLora(
  checkpoint: Checkpoint,
  config: DitConfig,
  { strict = true }: LoadLoraOptions = {},
): Promise<Lora> {
  const modules = loraModules(config);
  const { groups, strangers } = grouped(checkpoint);
  const { source } = checkpoint;
  const unmatched = [...strangers];
  const terms: LoraTerm[] = [];
  const matched: string[] = [];
  for (const [name, entries] of groups) {
    const made = await termsOf(checkpoint, modules, name, entries);
    if (made === undefined) unmatched.push(...[...entries.values()].map((entry) => entry.name));
    else {
      terms.push(...made);
      matched.push(name);
    }
  }
  if (groups.size === 0) {
    const message = `${source}: is no LoRA; ${describeFamily(checkpoint.entries.keys())}`;
    throw new HunyuanError("CHECKPOINT_INVALID", message, { file: source });
  }
  if (unmatched.length > 0 && (strict || matched.length === 0)) throw withoutPlace(source, unmatched, matched.length);
  return {
    source,
    style: loraStyleOf(groups.keys(), modules),
    terms,
    rank: terms.reduce((most, { product }) => Math.max(most, product?.rank ?? 0), 0),
    unmatched,
  };
}

type Group = ReadonlyMap<LoraRole, TensorEntry>;

function grouped({ source, entries }: Checkpoint) {
  const groups = new Map<string, Map<LoraRole, TensorEntry>>();
  const strangers: string[] = [];
  for (const [key, entry] of entries) {
    const parsed = parseLoraKey(key);
    if (parsed === undefined) {
      strangers.push(key);
      continue;
    }
    const { module, role } = parsed;
    if (role === "other") {
      const message = `${source}: ${key}: this is no plain LoRA (DoRA, LoHa, LoKr or the like), which this version cannot fuse`;
      throw new HunyuanError("MODEL_UNSUPPORTED", message, { what: key });
    }
    const group = groups.get(module) ?? new Map<LoraRole, TensorEntry>();
    const other = group.get(role);
    if (other !== undefined) throw invalid(entry, `says the same as ${other.name}`);
    group.set(role, entry);
    groups.set(module, group);
  }
  return { groups, strangers };
}

function invalid(entry: TensorEntry, message: string): HunyuanError<"CHECKPOINT_INVALID"> {
  const { file, name } = entry;
  return new HunyuanError("CHECKPOINT_INVALID", `${file}: ${name}: ${message}`, { file, key: name });
}

function withoutPlace(source: string, keys: readonly string[], matched: number): HunyuanError<"CHECKPOINT_INVALID"> {
  const shown = keys
    .slice(0, 4)
    .map((key) => key.slice(0, 120))
    .join(", ");
  const more = keys.length > 4 ? ` and ${keys.length - 4} more` : "";
  const advice = matched === 0 ? "a LoRA of another model?" : "{ strict: false } leaves them out";
  const message = `${source}: the model has no place for ${shown}${more}; ${advice}`;
  return new HunyuanError("CHECKPOINT_INVALID", message, { file: source, keys });
}

/** undefined when the model has no such module. */
async function termsOf(
  checkpoint: Checkpoint,
  modules: LoraModules,
  name: string,
  group: Group,
): Promise<readonly LoraTerm[] | undefined> {
  const module = findLoraModule(modules, name);
  const diffB = group.get("diff_b");
  if (module === undefined || (diffB !== undefined && module.bias === undefined)) return undefined;
  const [up, down, diff] = [group.get("up"), group.get("down"), group.get("diff")];
  const terms: LoraTerm[] = [];
  if (up !== undefined && down !== undefined) {
    const alpha = await alphaOf(checkpoint, name, group.get("alpha"));
    terms.push(...productTerms(module.weight, up, down, alpha));
  } else {
    const half = up ?? down;
    if (half !== undefined)
      throw invalid(half, `stands alone, its ${up === undefined ? "up" : "down"} half is missing`);
  }
  if (diff !== undefined) terms.push(...diffTerms(module.weight, diff));
  if (diffB !== undefined && module.bias !== undefined) terms.push(...diffTerms(module.bias, diffB));
  // An alpha alone changes nothing.
  return terms;
}

async function alphaOf(
  checkpoint: Checkpoint,
  name: string,
  entry: TensorEntry | undefined,
): Promise<number | undefined> {
  if (entry === undefined) return alphaOfMetadata(checkpoint, name);
  if (sizeOf(entry.shape) !== 1) throw invalid(entry, `is ${showShape(entry.shape)}, expected one number`);
  const alpha = await withFile(entry.file, (reader) => numberIn(reader, entry));
  if (Number.isFinite(alpha)) return alpha;
  throw invalid(entry, `is ${alpha}, expected a number`);
}

/** Rows of the foreign tensor, its other axes as one. */
function widthOf({ shape }: ForeignTensor): number {
  return sizeOf(shape.slice(1));
}

function checkFloat(entry: TensorEntry): void {
  if (dtypes[entry.dtype].kind !== "float") throw invalid(entry, `is ${entry.dtype}, expected floats`);
}

function productTerms(
  target: ForeignTensor,
  up: TensorEntry,
  down: TensorEntry,
  alpha: number | undefined,
): LoraTerm[] {
  for (const entry of [up, down]) checkFloat(entry);
  const rank = down.shape[0] ?? 0;
  const rows = target.shape[0] ?? 0;
  if (rank === 0 || sizeOf(down.shape) !== rank * widthOf(target)) {
    throw invalid(down, `is ${showShape(down.shape)}, expected [rank, ${widthOf(target)}] for ${target.name}`);
  }
  if (up.shape[0] !== rows || sizeOf(up.shape) !== rows * rank) {
    throw invalid(up, `is ${showShape(up.shape)}, expected [${rows}, ${rank}] for ${target.name}`);
  }
  const scale = (alpha ?? rank) / rank;
  return target.parts.map(({ spec, from, rows, to }) => ({
    parameter: spec.name,
    from,
    rows,
    product: { up, upFrom: to, down, rank, scale },
  }));
}

function diffTerms(target: ForeignTensor, entry: TensorEntry): LoraTerm[] {
  checkFloat(entry);
  if (entry.shape[0] !== target.shape[0] || sizeOf(entry.shape) !== sizeOf(target.shape)) {
    throw invalid(entry, `is ${showShape(entry.shape)}, expected ${showShape(target.shape)} for ${target.name}`);
  }
  return target.parts.map(({ spec, from, rows, to }) => ({
    parameter: spec.name,
    from,
    rows,
    diff: { entry, diffFrom: to },
  }));
}
