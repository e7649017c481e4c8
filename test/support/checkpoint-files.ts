/** Writes checkpoints for tests: safetensors and torch.save files, sparse, so that 26 GB of shapes take no room. */
import { closeSync, ftruncateSync, openSync, writeSync } from "node:fs";
import { bytesOf, type DType } from "../../lib/tensor/dtype.js";
import { sizeOf } from "../../lib/tensor/shape.js";

export interface FileTensor {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Its bytes; without them the file has a hole there, which reads as zeros. */
  readonly data?: Uint8Array | undefined;
}

const safetensorsNames: { readonly [D in DType]: string } = {
  f32: "F32",
  f64: "F64",
  f16: "F16",
  bf16: "BF16",
  f8e4m3: "F8_E4M3",
  i32: "I32",
  i64: "I64",
  u8: "U8",
  bool: "BOOL",
};

const bytesIn = ({ dtype, shape }: FileTensor): number => bytesOf(dtype, sizeOf(shape));

function fill(path: string, size: number, pieces: Iterable<readonly [at: number, bytes: Uint8Array]>): void {
  const file = openSync(path, "w");
  try {
    ftruncateSync(file, size);
    for (const [at, bytes] of pieces) {
      for (let done = 0; done < bytes.length; ) done += writeSync(file, bytes, done, bytes.length - done, at + done);
    }
  } finally {
    closeSync(file);
  }
}

export function writeSafetensors(
  path: string,
  tensors: readonly FileTensor[],
  metadata?: { readonly [key: string]: string },
): void {
  const header: { [name: string]: unknown } = metadata === undefined ? {} : { __metadata__: metadata };
  const places: [number, Uint8Array][] = [];
  let at = 0;
  for (const tensor of tensors) {
    const { name, dtype, shape, data } = tensor;
    const end = at + bytesIn(tensor);
    header[name] = { dtype: safetensorsNames[dtype], shape, data_offsets: [at, end] };
    if (data !== undefined) places.push([at, data]);
    at = end;
  }
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  const start = 8 + text.length;
  fill(path, start + at, [
    [0, Buffer.concat([length, text])],
    ...places.map(([p, data]) => [start + p, data] as const),
  ]);
}

// --- torch.save ------------------------------------------------------------------------------------------------------

const torchStorages: { readonly [D in DType]?: string } = {
  f32: "FloatStorage",
  f64: "DoubleStorage",
  f16: "HalfStorage",
  bf16: "BFloat16Storage",
  i64: "LongStorage",
  u8: "ByteStorage",
};

const text = (value: string) => {
  const bytes = Buffer.from(value);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(bytes.length);
  return Buffer.concat([Buffer.from("X"), length, bytes]);
};
const whole = (value: number) => {
  const bytes = Buffer.alloc(10);
  bytes[0] = 0x8a; // LONG1
  bytes[1] = 8;
  bytes.writeBigInt64LE(BigInt(value), 2);
  return bytes;
};
const global = (module: string, name: string) => Buffer.from(`c${module}\n${name}\n`);
const tuple = (...items: Uint8Array[]) => Buffer.concat([Buffer.from("("), ...items, Buffer.from("t")]);

/** The type of a tensor without a storage class of its own stands in the call that rebuilds it. */
function rebuild({ dtype, shape }: FileTensor, key: string): Buffer {
  const named = torchStorages[dtype];
  const type = named === undefined ? global("torch.storage", "UntypedStorage") : global("torch", named);
  const elements = named === undefined ? bytesOf(dtype, sizeOf(shape)) : sizeOf(shape);
  const storage = Buffer.concat([
    tuple(text("storage"), type, text(key), text("cpu"), whole(elements)),
    Buffer.from("Q"),
  ]);
  const strides = shape.map((_, i) => sizeOf(shape.slice(i + 1)));
  const hooks = Buffer.concat([global("collections", "OrderedDict"), Buffer.from(")R")]);
  const size = [tuple(...shape.map(whole)), tuple(...strides.map(whole))];
  const common = [storage, whole(0), ...size, Buffer.from([0x89]), hooks];
  return named === undefined
    ? Buffer.concat([
        global("torch._utils", "_rebuild_tensor_v3"),
        tuple(...common, global("torch", "float8_e4m3fn")),
        Buffer.from("R"),
      ])
    : Buffer.concat([global("torch._utils", "_rebuild_tensor_v2"), tuple(...common), Buffer.from("R")]);
}

/** A dictionary of tensors, below `part` ("module") when it is given. */
function pickle(tensors: readonly FileTensor[], part: string | undefined): Buffer {
  const items = tensors.map((tensor, i) => Buffer.concat([text(tensor.name), rebuild(tensor, String(i))]));
  const dict = Buffer.concat([Buffer.from("}("), ...items, Buffer.from("u")]);
  const whole = part === undefined ? dict : Buffer.concat([Buffer.from("}("), text(part), dict, Buffer.from("u")]);
  return Buffer.concat([Buffer.from([0x80, 2]), whole, Buffer.from(".")]);
}

interface Member {
  readonly name: Buffer;
  readonly size: number;
  readonly data: Uint8Array | undefined;
  readonly at: number;
}

function localHeader({ name, size }: Member): Buffer {
  const header = Buffer.alloc(30);
  header.writeUInt32LE(0x04034b50, 0);
  header.writeUInt16LE(45, 4);
  header.writeUInt32LE(size, 18);
  header.writeUInt32LE(size, 22);
  header.writeUInt16LE(name.length, 26);
  return Buffer.concat([header, name]);
}

function centralHeader({ name, size, at }: Member): Buffer {
  const header = Buffer.alloc(46);
  header.writeUInt32LE(0x02014b50, 0);
  header.writeUInt16LE(45, 4);
  header.writeUInt16LE(45, 6);
  header.writeUInt32LE(size, 20);
  header.writeUInt32LE(size, 24);
  header.writeUInt16LE(name.length, 28);
  header.writeUInt16LE(12, 30);
  header.writeUInt32LE(0xffffffff, 42);
  const extra = Buffer.alloc(12); // zip64: the offset
  extra.writeUInt16LE(1, 0);
  extra.writeUInt16LE(8, 2);
  extra.writeBigUInt64LE(BigInt(at), 4);
  return Buffer.concat([header, name, extra]);
}

function zipEnd(count: number, start: number, size: number): Buffer {
  const record = Buffer.alloc(56);
  record.writeUInt32LE(0x06064b50, 0);
  record.writeBigUInt64LE(44n, 4);
  record.writeUInt16LE(45, 12);
  record.writeUInt16LE(45, 14);
  record.writeBigUInt64LE(BigInt(count), 24);
  record.writeBigUInt64LE(BigInt(count), 32);
  record.writeBigUInt64LE(BigInt(size), 40);
  record.writeBigUInt64LE(BigInt(start), 48);
  const locator = Buffer.alloc(20);
  locator.writeUInt32LE(0x07064b50, 0);
  locator.writeBigUInt64LE(BigInt(start + size), 8);
  locator.writeUInt32LE(1, 16);
  const end = Buffer.alloc(22, 0xff);
  end.writeUInt32LE(0x06054b50, 0);
  end.fill(0, 4, 8);
  end.fill(0, 20, 22);
  return Buffer.concat([record, locator, end]);
}

/** As torch.save writes since version 1.6: a stored zip with a pickle. The checksums are left out: 0. */
export function writeTorchZip(path: string, tensors: readonly FileTensor[], part?: string): void {
  const program = pickle(tensors, part);
  const files = [
    { name: "archive/data.pkl", size: program.length, data: program as Uint8Array | undefined },
    ...tensors.map((tensor, i) => ({ name: `archive/data/${i}`, size: bytesIn(tensor), data: tensor.data })),
    { name: "archive/version", size: 2, data: Buffer.from("3\n") as Uint8Array | undefined },
  ];
  const members: Member[] = [];
  const pieces: [number, Uint8Array][] = [];
  let at = 0;
  for (const { name, size, data } of files) {
    const member = { name: Buffer.from(name), size, data, at };
    const header = localHeader(member);
    members.push(member);
    pieces.push([at, header]);
    if (data !== undefined) pieces.push([at + header.length, data]);
    at += header.length + size;
  }
  const directory = Buffer.concat(members.map(centralHeader));
  const end = zipEnd(members.length, at, directory.length);
  pieces.push([at, directory], [at + directory.length, end]);
  fill(path, at + directory.length + end.length, pieces);
}
