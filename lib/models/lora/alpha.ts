/** The scale of a LoRA's modules: a number in a tensor, or in the metadata that PEFT leaves. */
import type { FileReader } from "../../io/file-reader.js";
import type { Checkpoint, TensorEntry } from "../../io/tensor-file.js";
import { HunyuanError } from "../../runtime/errors.js";
import type { DType } from "../../tensor/dtype.js";

const decoders: { readonly [D in DType]?: (bytes: Buffer) => number } = {
  f32: (bytes) => bytes.readFloatLE(0),
  f64: (bytes) => bytes.readDoubleLE(0),
  bf16: (bytes) => Buffer.from([0, 0, bytes[0] ?? 0, bytes[1] ?? 0]).readFloatLE(0),
  f16: (bytes) => halfOf(bytes.readUInt16LE(0)),
  i32: (bytes) => bytes.readInt32LE(0),
  i64: (bytes) => Number(bytes.readBigInt64LE(0)),
  u8: (bytes) => bytes.readUInt8(0),
};

/** IEEE half precision: 1 sign, 5 exponent, 10 fraction bits. */
function halfOf(bits: number): number {
  const sign = bits >> 15 === 0 ? 1 : -1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/**
 * The number that a tensor of one element holds.
 *
 * @throws CHECKPOINT_INVALID, FILE_ERROR
 */
export async function numberIn(reader: FileReader, { dtype, offset, bytes, name, file }: TensorEntry): Promise<number> {
  const decode = decoders[dtype];
  if (decode !== undefined) return decode(await reader.read(offset, bytes, name));
  throw new HunyuanError("CHECKPOINT_INVALID", `${file}: ${name}: is ${dtype}, expected a number`, { file, key: name });
}

/** Where diffusers keeps the configuration of an adapter, as JSON with keys like "transformer.lora_alpha". */
const peftMetadata = "lora_adapter_metadata";

/**
 * The alpha that PEFT's configuration gives a module; undefined where the file has none, and then it is the rank.
 *
 * @throws MODEL_UNSUPPORTED for rank-stabilised LoRA, whose scale is another
 */
export function alphaOfMetadata({ source, metadata }: Checkpoint, module: string): number | undefined {
  const text = metadata.get(peftMetadata);
  if (text === undefined) return undefined;
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw new HunyuanError("CHECKPOINT_INVALID", `${source}: its ${peftMetadata} is not JSON`, { file: source });
  }
  if (typeof json !== "object" || json === null) return undefined;
  const [prefix = ""] = module.split(".");
  const values = new Map<string, unknown>(Object.entries(json));
  const value = (key: string) => values.get(`${prefix}.${key}`) ?? values.get(key);
  if (value("use_rslora") === true) {
    throw new HunyuanError("MODEL_UNSUPPORTED", `${source}: a rank-stabilised LoRA (use_rslora) is not fused`, {
      what: "use_rslora",
    });
  }
  const inner = module.slice(prefix.length + 1);
  const patterns = value("alpha_pattern");
  const own = typeof patterns === "object" && patterns !== null ? Object.entries(patterns) : [];
  // As PEFT matches them: the pattern is the end of the module's name.
  const found = own.find(([pattern]) => inner === pattern || inner.endsWith(`.${pattern}`))?.[1] ?? value("lora_alpha");
  return typeof found === "number" ? found : undefined;
}
