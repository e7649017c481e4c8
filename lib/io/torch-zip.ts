/**
 * Checkpoints of torch.save: a zip archive with a pickle that describes the tensors (data.pkl) and a file for each
 * storage. The pickle is read by a machine that knows tensors only; storages are located, not read.
 */
import { bytesOf, type DType } from "../tensor/dtype.js";
import { denseStrides, isAddressable, maxRank, type Shape, showShape, sizeOf } from "../tensor/shape.js";
import { invalidCheckpoint } from "./failure.js";
import type { FileReader } from "./file-reader.js";
import {
  maxPickleBytes,
  PickleDict,
  PickleGlobal,
  type PickleHost,
  PickleList,
  PickleObject,
  PickleTuple,
  type PickleValue,
  unpickle,
} from "./pickle.js";
import { checkTree } from "./pickle-tree.js";
import type { FileContents } from "./safetensors.js";
import type { TensorEntry } from "./tensor-file.js";
import { locateZipEntry, readZipDirectory, type ZipDirectory, type ZipEntry } from "./zip.js";

/** Element types as torch names them, and the storage classes of older files. */
const torchDTypes: ReadonlyMap<string, DType> = new Map<string, DType>([
  ["torch.float32", "f32"],
  ["torch.float64", "f64"],
  ["torch.float16", "f16"],
  ["torch.bfloat16", "bf16"],
  ["torch.float8_e4m3fn", "f8e4m3"],
  ["torch.int32", "i32"],
  ["torch.int64", "i64"],
  ["torch.uint8", "u8"],
  ["torch.bool", "bool"],
  ["torch.FloatStorage", "f32"],
  ["torch.DoubleStorage", "f64"],
  ["torch.HalfStorage", "f16"],
  ["torch.BFloat16Storage", "bf16"],
  ["torch.IntStorage", "i32"],
  ["torch.LongStorage", "i64"],
  ["torch.ByteStorage", "u8"],
  ["torch.BoolStorage", "bool"],
]);
/** All of torch's types: names without a meaning of their own, so those that are not read may stand in a file. */
const typeNames = /^torch\.(?:[A-Z]\w{0,30}Storage|(?:u|q|qu)?int\d\w{0,8}|b?float\d\w{0,16}|complex\d{1,3}|bool)$/;
const readsAtOnce = 32;
const untyped = "torch.storage.UntypedStorage";

class TorchStorage extends PickleObject {
  readonly kind = "storage";
  readonly entry: ZipEntry;
  /** Such as torch.HalfStorage; of untyped ones the tensors say it. */
  readonly type: string;
  constructor(entry: ZipEntry, type: string) {
    super();
    this.entry = entry;
    this.type = type;
  }
}

class TorchTensor extends PickleObject {
  readonly kind = "tensor";
  readonly storage: TorchStorage;
  /** Of the storage's class or of the element: torch.HalfStorage, torch.float16. It may be one that is not read. */
  readonly type: string;
  readonly shape: Shape;
  readonly strides: readonly number[];
  /** In elements from the storage's start. */
  readonly offset: number;
  constructor(storage: TorchStorage, type: string, shape: Shape, strides: readonly number[], offset: number) {
    super();
    this.storage = storage;
    this.type = type;
    this.shape = shape;
    this.strides = strides;
    this.offset = offset;
  }
}

/** The wrappers under which trainers put their state dicts; the first that is there is taken. */
export const torchParts = ["module", "ema", "state_dict"] as const;
export type TorchPart = (typeof torchParts)[number];

/**
 * Tensors of a torch.save file.
 *
 * @param part which of several state dicts (`module`, `ema`, `state_dict`); default the first that is there
 * @throws CHECKPOINT_INVALID naming the file and the key
 */
export async function readTorchZip(reader: FileReader, part?: TorchPart): Promise<FileContents> {
  const directory = await readZipDirectory(reader);
  const root = findRoot(reader, directory);
  await checkByteOrder(reader, directory, root);
  const program = await readZipEntry(reader, directory, `${root}data.pkl`, maxPickleBytes);
  const value = unpickle(program, new TorchHost(reader.path, directory, root));
  checkTree(reader.path, value);
  const dict = chooseDict(reader.path, value, part);
  return { entries: await locateTensors(reader, directory, dict), metadata: readTexts(dict) };
}

/** The archive's one folder, whose name torch takes from the file's. */
function findRoot(reader: FileReader, { entries }: ZipDirectory): string {
  const programs = [...entries.keys()].filter((name) => /^(?:[^/]+\/)?data\.pkl$/.test(name));
  const [program] = programs;
  if (program !== undefined && programs.length === 1) return program.slice(0, -"data.pkl".length);
  throw invalidCheckpoint(
    reader.path,
    "is a zip archive, but not one that torch.save wrote: it has no data.pkl of its own",
  );
}

async function checkByteOrder(reader: FileReader, directory: ZipDirectory, root: string): Promise<void> {
  const name = `${root}byteorder`;
  if (!directory.entries.has(name)) return;
  const order = (await readZipEntry(reader, directory, name, 16)).toString("latin1");
  if (order !== "little")
    throw invalidCheckpoint(reader.path, `its byte order is ${JSON.stringify(order)}, expected "little"`);
}

async function readZipEntry(reader: FileReader, directory: ZipDirectory, name: string, most: number): Promise<Buffer> {
  const entry = directory.entries.get(name);
  if (entry === undefined) throw invalidCheckpoint(reader.path, "is missing in the archive", name);
  if (entry.bytes > most)
    throw invalidCheckpoint(reader.path, `has ${entry.bytes} bytes, at most ${most} are read`, name);
  return reader.read(await locateZipEntry(reader, entry, directory.end), entry.bytes, name);
}

// --- what the pickle may say -----------------------------------------------------------------------------------------

type Calls = { readonly [name: string]: (host: TorchHost, args: readonly PickleValue[]) => PickleValue };

const calls: Calls = {
  "collections.OrderedDict": (host, [pairs]) => host.orderedDict(pairs),
  // A trainer's notes beside the tensors: sets, and bytes as protocol 2 spells them.
  "builtins.set": (_, [items]) => (items instanceof PickleList ? items : new PickleList()),
  "__builtin__.set": (_, [items]) => (items instanceof PickleList ? items : new PickleList()),
  "_codecs.encode": (_, [text]) => text ?? null,
  "torch.Size": (_, [sizes]) => (sizes instanceof PickleTuple ? sizes : new PickleTuple([])),
  "torch.device": () => null,
  "torch._utils._rebuild_tensor": (host, [storage, offset, shape, strides]) =>
    host.tensor(storage, offset, shape, strides, undefined),
  "torch._utils._rebuild_tensor_v2": (host, [storage, offset, shape, strides]) =>
    host.tensor(storage, offset, shape, strides, undefined),
  "torch._utils._rebuild_tensor_v3": (host, [storage, offset, shape, strides, , , dtype]) =>
    host.tensor(storage, offset, shape, strides, dtype),
  "torch._utils._rebuild_parameter": (_, [data]) => data ?? null,
  "torch._utils._rebuild_parameter_with_state": (_, [data]) => data ?? null,
};

class TorchHost implements PickleHost {
  readonly file: string;
  readonly #directory: ZipDirectory;
  readonly #root: string;

  constructor(file: string, directory: ZipDirectory, root: string) {
    this.file = file;
    this.#directory = directory;
    this.#root = root;
  }

  knows(name: string): boolean {
    return Object.hasOwn(calls, name) || name === untyped || typeNames.test(name);
  }

  call(name: string, args: readonly PickleValue[]): PickleValue {
    if (!Object.hasOwn(calls, name)) throw this.#refuse(`calls ${name}`);
    return (calls[name] as Calls[string])(this, args);
  }

  /** ("storage", class, key, place, number of elements) */
  persistent(id: PickleValue): PickleValue {
    const [kind, type, key, , count] = id instanceof PickleTuple ? id.items : [];
    if (kind !== "storage" || !(type instanceof PickleGlobal) || typeof key !== "string" || !isWhole(count)) {
      throw this.#refuse("points at something outside that is no storage");
    }
    const name = `${this.#root}data/${key}`;
    const entry = this.#directory.entries.get(name);
    if (entry === undefined) throw invalidCheckpoint(this.file, "is a storage that the archive does not hold", name);
    const dtype = type.name === untyped ? "u8" : torchDTypes.get(type.name);
    if (dtype !== undefined && bytesOf(dtype, count) > entry.bytes) {
      throw invalidCheckpoint(this.file, `has ${entry.bytes} bytes, but the pickle says ${count} elements`, name);
    }
    return new TorchStorage(entry, type.name);
  }

  orderedDict(pairs: PickleValue | undefined): PickleDict {
    const dict = new PickleDict();
    if (pairs === undefined) return dict;
    if (!(pairs instanceof PickleList)) throw this.#refuse("makes an OrderedDict of what is no list of pairs");
    for (const pair of pairs.items) {
      const [key, value] = pair instanceof PickleTuple || pair instanceof PickleList ? pair.items : [];
      if (key === undefined || value === undefined)
        throw this.#refuse("makes an OrderedDict of what is no list of pairs");
      dict.entries.set(key, value);
    }
    return dict;
  }

  tensor(
    storage: PickleValue | undefined,
    offset: PickleValue | undefined,
    size: PickleValue | undefined,
    stride: PickleValue | undefined,
    type: PickleValue | undefined,
  ): TorchTensor {
    const shape = wholes(size);
    const strides = wholes(stride);
    if (
      !(storage instanceof TorchStorage && isWhole(offset) && shape && strides) ||
      strides.length !== shape.length ||
      shape.length > maxRank ||
      !isAddressable(shape)
    ) {
      throw this.#refuse("rebuilds a tensor from what describes none");
    }
    return new TorchTensor(storage, type instanceof PickleGlobal ? type.name : storage.type, shape, strides, offset);
  }

  #refuse(message: string): Error {
    return invalidCheckpoint(this.file, `the pickle ${message}`);
  }
}

function isWhole(value: PickleValue | undefined): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function wholes(value: PickleValue | undefined): readonly number[] | undefined {
  return value instanceof PickleTuple && value.items.every(isWhole) ? value.items : undefined;
}

// --- what it described -----------------------------------------------------------------------------------------------

function chooseDict(file: string, value: PickleValue, part: TorchPart | undefined): PickleDict {
  if (value instanceof TorchTensor)
    throw invalidCheckpoint(file, "holds a single tensor, expected a dictionary of tensors");
  if (!(value instanceof PickleDict)) throw invalidCheckpoint(file, "holds no dictionary of tensors");
  for (const name of part === undefined ? torchParts : [part]) {
    const inner = value.entries.get(name);
    if (inner instanceof PickleDict) return inner;
  }
  if (part === undefined) return value;
  const keys = [...value.entries.keys()].filter((key) => typeof key === "string").slice(0, 8);
  throw invalidCheckpoint(file, `has no state dict of that name; its keys are ${keys.join(", ")}`, part);
}

/** Numbers and texts beside the tensors (scales of old fp8 maps, versions), as metadata. */
function readTexts(dict: PickleDict): ReadonlyMap<string, string> {
  const texts = new Map<string, string>();
  for (const [key, value] of dict.entries) {
    if (typeof key === "string" && (typeof value === "number" || typeof value === "string"))
      texts.set(key, String(value));
  }
  return texts;
}

async function locateTensors(reader: FileReader, directory: ZipDirectory, dict: PickleDict): Promise<TensorEntry[]> {
  const found: { readonly name: string; readonly tensor: TorchTensor; readonly place: Place }[] = [];
  for (const [name, tensor] of dict.entries) {
    if (typeof name !== "string" || !(tensor instanceof TorchTensor)) continue;
    found.push({ name, tensor, place: placeInStorage(reader.path, name, tensor) });
  }
  if (found.length === 0) throw invalidCheckpoint(reader.path, "its dictionary holds no tensors");
  const starts = await locateEntries(reader, directory, new Set(found.map(({ tensor }) => tensor.storage.entry)));
  return found.map(({ name, tensor, place }) => {
    const offset = (starts.get(tensor.storage.entry) as number) + place.start;
    return { name, dtype: place.dtype, shape: tensor.shape, file: reader.path, offset, bytes: place.bytes };
  });
}

/** First bytes of the storages. Thousands of small reads, so many at once. */
async function locateEntries(
  reader: FileReader,
  { end }: ZipDirectory,
  entries: ReadonlySet<ZipEntry>,
): Promise<ReadonlyMap<ZipEntry, number>> {
  const starts = new Map<ZipEntry, number>();
  const waiting = entries.values();
  const work = async () => {
    for (const entry of waiting) starts.set(entry, await locateZipEntry(reader, entry, end));
  };
  // All end before one's error is thrown: the file is closed after that.
  for (const result of await Promise.allSettled(Array.from({ length: readsAtOnce }, work))) {
    if (result.status === "rejected") throw result.reason;
  }
  return starts;
}

interface Place {
  readonly dtype: DType;
  /** In bytes from the storage's start. */
  readonly start: number;
  readonly bytes: number;
}

function placeInStorage(file: string, name: string, tensor: TorchTensor): Place {
  const { storage, type, shape, offset } = tensor;
  const dtype = torchDTypes.get(type);
  if (dtype === undefined) throw invalidCheckpoint(file, `its type is ${type}, which is not read`, name);
  checkDense(file, name, tensor);
  const bytes = bytesOf(dtype, sizeOf(shape));
  const start = bytesOf(dtype, offset);
  if (start + bytes > storage.entry.bytes) {
    const message = `${dtype} ${showShape(shape)} at byte ${start} reaches past the ${storage.entry.bytes} bytes of its storage`;
    throw invalidCheckpoint(file, message, name);
  }
  return { dtype, start, bytes };
}

function checkDense(file: string, name: string, { shape, strides }: TorchTensor): void {
  const dense = denseStrides(shape);
  if (sizeOf(shape) === 0 || shape.every((n, i) => n === 1 || strides[i] === dense[i])) return;
  throw invalidCheckpoint(
    file,
    `${showShape(shape)} is stored with strides ${showShape(strides)}, not row by row; save it with .contiguous()`,
    name,
  );
}
