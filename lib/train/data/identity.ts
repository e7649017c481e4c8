/** Which weights made something: a name that another set of weights does not have. */
import { createHash } from "node:crypto";
import { basename } from "node:path";
import { withFile } from "../../io/file-reader.js";
import type { Params } from "../../nn/params.js";
import { readBytes } from "../../tensor/file.js";
import { Tensor } from "../../tensor/tensor.js";
import type { JsonValue } from "../stateful.js";

const chunk = 16 * 2 ** 20;

/**
 * A hash of every parameter's bytes, for weights that are on a device: a second a gigabyte.
 *
 * @param settings whatever else decides what the model gives
 */
export async function identityOfParams(params: Params, settings: JsonValue = null): Promise<string> {
  const hash = createHash("sha256").update(JSON.stringify(settings));
  for (const name of [...params.names()].sort()) {
    const tensor = params.find(params.path === "" ? name : name.slice(params.path.length + 1));
    if (tensor === undefined) continue;
    hash.update(`${name} ${tensor.dtype} ${tensor.shape.join()};`);
    const dense = tensor.isDense ? tensor : Tensor.toDense(tensor, tensor.dtype);
    for (let at = 0; at < dense.bytes; at += chunk) {
      hash.update(await readBytes(dense, at, Math.min(chunk, dense.bytes - at)));
    }
    if (dense !== tensor) dense.dispose();
  }
  return hash.digest("hex");
}

const samples = 64;
const sampleBytes = 64 * 2 ** 10;

/**
 * The same for weights in files of many gigabytes: names, sizes, the first bytes (a safetensors header) and 64 samples of each.
 * Training changes all of a file, so a sample tells.
 *
 * @throws FILE_ERROR
 */
export async function identityOfFiles(files: readonly string[], settings: JsonValue = null): Promise<string> {
  const hash = createHash("sha256").update(JSON.stringify(settings));
  for (const file of [...files].sort()) {
    await withFile(file, async (reader) => {
      hash.update(`${basename(file)} ${reader.size};`);
      const last = Math.max(0, reader.size - sampleBytes);
      const places = new Set(Array.from({ length: samples }, (_, i) => Math.floor((last * i) / (samples - 1))));
      for (const at of places) {
        hash.update(await reader.read(at, Math.min(sampleBytes, reader.size - at), "a sample of its bytes"));
      }
    });
  }
  return hash.digest("hex");
}
