/** Whose terms the weights come under. The library's own licence says nothing of them. */
import type { ModelPart } from "./families.js";

const tencent =
  "Tencent Hunyuan Community License Agreement; it does not apply in the European Union, the United Kingdom and South Korea";

const licences: { readonly [P in ModelPart]: string } = {
  transformer: tencent,
  vae: tencent,
  llama: "Meta Llama 3 Community License Agreement (the released language model is a LLaVA on Llama 3)",
  clip: "MIT License (OpenAI's CLIP)",
  lora: `its author's terms; the model that it changes: ${tencent}`,
};

/** Terms of the published weights of a part; what a file's metadata say comes first. */
export function licenceOf(part: ModelPart | undefined, metadata: ReadonlyMap<string, string>): string | undefined {
  const own = metadata.get("modelspec.license") ?? metadata.get("license");
  const known = part === undefined ? undefined : `${licences[part]}, where these are the published weights`;
  return own === undefined ? known : `${own} (by its metadata)${known === undefined ? "" : `; ${known}`}`;
}
