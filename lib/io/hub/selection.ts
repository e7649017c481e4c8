/** Which files of a model on the hub are needed: weights once, tokenizers and configurations; not pictures and papers. */

/** Folders in which the published layouts keep the parts of a model. */
const partFolder =
  /^(transformers?|vae|text_encoders?(_\d+)?(_i2v)?|tokenizers?(_\d+)?|scheduler|image_processor|feature_extractor|llm|clip_vision\w*|clip[\w-]*|llava[\w-]*)$/;
const weights = /\.(safetensors|pt|pth|bin|ckpt)$/;
const pickled = /\.(pt|pth|bin|ckpt)(\.index\.json)?$/;
const tokenizerText = /(^|\/)(merges|vocab)\.txt$/;
const licence = /^(licen[cs]e|notice)(\.\w+)?$/i;
/** "model.fp16.safetensors", "model.fp16-00001-of-00002.safetensors", "model.safetensors.index.fp16.json". */
const variant = /\.(fp16|bf16|fp32|non_ema|ema)(-\d{5}-of-\d{5})?\.(safetensors|bin|json)$/;
const eightBit = /(^|[_.-])fp8([_.-]|$)/;
/** What other frameworks read, and training leftovers, under names that otherwise look like ours. */
const foreign =
  /(^|\/)(flax_model|tf_model|rust_model|openvino_\w+|onnx|optimizer|training_args|scaler|random_states)\b/;

const folderOf = (path: string) => path.slice(0, path.lastIndexOf("/") + 1);
const nameOf = (path: string) => path.slice(path.lastIndexOf("/") + 1);
const isWeights = (path: string) => weights.test(path) && !foreign.test(path);

function isPart(path: string): boolean {
  return folderOf(path)
    .split("/")
    .some((folder) => partFolder.test(folder));
}

/** Of weights that a folder holds in several forms, the one that is read first: safetensors, full width, no variant. */
function withoutDoubles(paths: readonly string[]): string[] {
  const beside = new Map<string, string[]>();
  for (const path of paths) beside.set(folderOf(path), [...(beside.get(folderOf(path)) ?? []), path]);
  return paths.filter((path) => {
    const own = (beside.get(folderOf(path)) ?? []).filter(isWeights);
    const some = (keep: (other: string) => boolean) => own.some(keep);
    if (pickled.test(path) && some((other) => other.endsWith(".safetensors"))) return false;
    if (variant.test(path) && some((other) => !variant.test(other))) return false;
    return !(eightBit.test(nameOf(path)) && some((other) => !eightBit.test(nameOf(other))));
  });
}

/**
 * The files to download, of all that a repository holds.
 *
 * @example neededFiles(["README.md", "vae/config.json", "vae/pytorch_model.pt"]) // the last two
 */
export function neededFiles(paths: readonly string[]): string[] {
  const inParts = paths.some((path) => isPart(path) && isWeights(path));
  const wanted = paths.filter((path) => {
    if (!path.includes("/") && licence.test(path)) return true;
    if (foreign.test(path)) return false;
    // Where the parts have folders, weights elsewhere are copies in another layout, or something else altogether.
    if (isWeights(path)) return isPart(path) || !inParts;
    const known = path.endsWith(".json") || tokenizerText.test(path);
    return known && (isPart(path) || !path.includes("/"));
  });
  return withoutDoubles(wanted);
}
