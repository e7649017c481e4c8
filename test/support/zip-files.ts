/** Zip archives and pickles byte by byte, so that tests can get every field of them wrong. */

export interface ZipFile {
  readonly name: string;
  readonly data: Uint8Array;
  /** 8 is "deflated". Default 0. */
  readonly method?: number;
  /** Bytes after unpacking, as the archive says. Default: those of `data`. */
  readonly unpacked?: number;
  readonly flags?: number;
  /** Where the directory says the file is. Default: where it is. */
  readonly at?: number;
}

export interface ZipFields {
  readonly count?: number;
  readonly directoryBytes?: number;
  readonly directoryAt?: number;
  readonly comment?: string;
}

function localHeader({ name, data, method = 0, unpacked = data.length }: ZipFile): Buffer {
  const header = Buffer.alloc(30);
  header.writeUInt32LE(0x04034b50, 0);
  header.writeUInt16LE(method, 8);
  header.writeUInt32LE(data.length, 18);
  header.writeUInt32LE(unpacked, 22);
  header.writeUInt16LE(Buffer.byteLength(name), 26);
  return Buffer.concat([header, Buffer.from(name)]);
}

function centralHeader(file: ZipFile, at: number): Buffer {
  const { name, data, method = 0, unpacked = data.length, flags = 0 } = file;
  const header = Buffer.alloc(46);
  header.writeUInt32LE(0x02014b50, 0);
  header.writeUInt16LE(flags, 8);
  header.writeUInt16LE(method, 10);
  header.writeUInt32LE(data.length, 20);
  header.writeUInt32LE(unpacked, 24);
  header.writeUInt16LE(Buffer.byteLength(name), 28);
  header.writeUInt32LE(file.at ?? at, 42);
  return Buffer.concat([header, Buffer.from(name)]);
}

export function zipOf(files: readonly ZipFile[], fields: ZipFields = {}): Buffer {
  const parts: Uint8Array[] = [];
  const central: Buffer[] = [];
  let at = 0;
  for (const file of files) {
    const header = localHeader(file);
    parts.push(header, file.data);
    central.push(centralHeader(file, at));
    at += header.length + file.data.length;
  }
  const directory = Buffer.concat(central);
  const comment = Buffer.from(fields.comment ?? "");
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(fields.count ?? files.length, 8);
  end.writeUInt16LE(fields.count ?? files.length, 10);
  end.writeUInt32LE(fields.directoryBytes ?? directory.length, 12);
  end.writeUInt32LE(fields.directoryAt ?? at, 16);
  end.writeUInt16LE(comment.length, 20);
  return Buffer.concat([...parts, directory, end, comment]);
}

/** An archive as torch.save lays it out, around a pickle of the test's own. */
export function torchArchive(pickle: Uint8Array, storages: Readonly<Record<string, Uint8Array>> = {}): Buffer {
  return zipOf([
    { name: "archive/data.pkl", data: pickle },
    ...Object.entries(storages).map(([key, data]) => ({ name: `archive/data/${key}`, data })),
  ]);
}

/** Pieces of pickles (protocol 2), to be joined by `pickled`. */
export const pickle = {
  text(value: string): Buffer {
    const bytes = Buffer.from(value);
    const length = Buffer.alloc(5, 0x58);
    length.writeUInt32LE(bytes.length, 1);
    return Buffer.concat([length, bytes]);
  },
  whole(value: number): Buffer {
    const bytes = Buffer.alloc(10);
    bytes[0] = 0x8a;
    bytes[1] = 8;
    bytes.writeBigInt64LE(BigInt(value), 2);
    return bytes;
  },
  global: (module: string, name: string): Buffer => Buffer.from(`c${module}\n${name}\n`),
  tuple: (...items: readonly Uint8Array[]): Buffer => Buffer.concat([Buffer.from("("), ...items, Buffer.from("t")]),
  dict: (...items: readonly Uint8Array[]): Buffer => Buffer.concat([Buffer.from("}("), ...items, Buffer.from("u")]),
  call: (callee: Uint8Array, ...args: readonly Uint8Array[]): Buffer =>
    Buffer.concat([callee, pickle.tuple(...args), Buffer.from("R")]),
  storage: (type: string, key: string, count: number): Buffer =>
    Buffer.concat([
      pickle.tuple(
        pickle.text("storage"),
        pickle.global("torch", type),
        pickle.text(key),
        pickle.text("cpu"),
        pickle.whole(count),
      ),
      Buffer.from("Q"),
    ]),
  tensor: (storage: Uint8Array, offset: number, shape: readonly number[], strides: readonly number[]): Buffer =>
    pickle.call(
      pickle.global("torch._utils", "_rebuild_tensor_v2"),
      storage,
      pickle.whole(offset),
      pickle.tuple(...shape.map(pickle.whole)),
      pickle.tuple(...strides.map(pickle.whole)),
      Buffer.from([0x89]),
      pickle.call(pickle.global("collections", "OrderedDict")),
    ),
};

export function pickled(...pieces: readonly (Uint8Array | string)[]): Buffer {
  const bytes = pieces.map((piece) => (typeof piece === "string" ? Buffer.from(piece, "latin1") : piece));
  return Buffer.concat([Buffer.from([0x80, 2]), ...bytes, Buffer.from(".")]);
}
