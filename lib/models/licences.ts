/** Whose terms the weights come under. The library's own licence says nothing of them. */
import { join } from "node:path";
import { textOfFile } from "../io/json-file.js";
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

/** Numbers in the published weights, rounded down: what has fewer than half of them is somebody else's. */
const published: { readonly [P in ModelPart]: number } = {
  transformer: 12e9,
  vae: 240e6,
  llama: 7e9,
  clip: 120e6,
  // Small whatever it was made for.
  lora: 0,
};

/** A licence that somebody states, and where. */
export interface StatedLicence {
  readonly name: string;
  /** "its metadata", "the model's README.md" */
  readonly by: string;
}

export interface LicenceSources {
  /** Of the weights' file. */
  readonly metadata: ReadonlyMap<string, string>;
  /** Of the model that the file belongs to. */
  readonly card: StatedLicence | undefined;
  /** Numbers in the file. */
  readonly parameters: number;
}

/**
 * Terms of a part's weights: those that are stated, by the file before the model's card, and those of the published weights
 * where these could be it.
 */
export function licenceOf(part: ModelPart | undefined, sources: LicenceSources): string | undefined {
  const { metadata, card, parameters } = sources;
  const own = metadata.get("modelspec.license") ?? metadata.get("license");
  const stated = own === undefined ? card : { name: own, by: "its metadata" };
  const known = part === undefined ? undefined : `${licences[part]}, where these are the published weights`;
  if (stated === undefined) return known;
  const said = `${stated.name} (by ${stated.by})`;
  const canBePublished = part !== undefined && parameters >= published[part] / 2;
  return known !== undefined && canBePublished ? `${said}; ${known}` : said;
}

const cardFile = "README.md";

/**
 * The licence that a model's card states: `license` of the YAML at the head of README.md, as on the Hugging Face hub, with
 * the name where that is "other".
 */
export async function licenceOfCard(folder: string): Promise<StatedLicence | undefined> {
  const text = await textOfFile(join(folder, cardFile)).catch(() => "");
  const head = /^---\r?\n([\s\S]*?)\r?\n---/.exec(text)?.[1] ?? "";
  const value = (key: string) => new RegExp(`^${key}:[ \t]*["']?([^"'\r\n#]*[^"'\\s#])`, "m").exec(head)?.[1];
  const licence = value("license");
  const name = licence === "other" ? (value("license_name") ?? licence) : licence;
  return name === undefined ? undefined : { name, by: `the model's ${cardFile}` };
}
