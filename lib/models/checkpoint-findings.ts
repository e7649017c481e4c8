/** What can be said of a checkpoint that holds a part of the model, each part in its way. */
import { dirname, join } from "node:path";
import { findJsonFile } from "../io/json-file.js";
import type { Checkpoint } from "../io/tensor-file.js";
import { type DitConfig, ditPresets } from "./dit/config.js";
import { type Fp8Kind, refuseWithoutMap } from "./dit/fp8.js";
import type { DitHintOptions } from "./dit/hints.js";
import type { DitLayout } from "./dit/naming.js";
import { examineDitFiles } from "./dit/open.js";
import type { ModelPart } from "./families.js";
import { compareKeys, type KeyReport } from "./key-report.js";
import { findLoraModule, type LoraStyle, loraModules, loraStyleOf, parseLoraKey } from "./lora/styles.js";
import { type DetectedText, detectClip, detectLlama } from "./text/load.js";
import { openVae } from "./vae/open.js";

export interface LoraReport {
  readonly style: LoraStyle;
  /** From the smallest to the largest. */
  readonly ranks: readonly number[];
  readonly modules: number;
}

/** What is said of one part only. */
export interface Findings {
  readonly variant?: string;
  readonly layout?: DitLayout;
  readonly config?: object;
  readonly fp8?: Fp8Kind;
  readonly lora?: LoraReport;
  readonly report?: KeyReport;
  readonly problems?: readonly string[];
}

/**
 * What a checkpoint of a part says of it.
 *
 * @throws CHECKPOINT_INVALID, MODEL_UNSUPPORTED for what cannot be such a part
 */
export async function findingsOf(
  checkpoint: Checkpoint,
  part: ModelPart | undefined,
  hints: DitHintOptions,
): Promise<Findings> {
  switch (part) {
    case "transformer": {
      const { config, layout, fp8, report } = await examineDitFiles(checkpoint, hints);
      const problems = fp8 === "map-missing" ? [refuseWithoutMap(checkpoint).message] : [];
      return { config, layout, fp8, report, variant: variantOf(config), problems };
    }
    case "vae": {
      const { config, report } = await openVae(checkpoint);
      return { config, report };
    }
    case "llama":
      return textFindings(
        checkpoint,
        detectLlama(checkpoint, { config: await configBeside(checkpoint, ["llama", "llava"]) }),
      );
    case "clip":
      return textFindings(
        checkpoint,
        detectClip(checkpoint, { config: await configBeside(checkpoint, ["clip", "clip_text_model"]) }),
      );
    case "lora":
      return loraFindings(checkpoint);
    case undefined:
      return {};
  }
}

/** A variant in words. */
function variantOf({ i2v, guidanceEmbed }: DitConfig): string {
  const how = i2v === undefined ? "" : i2v === "token_replace" ? " by token replace" : " by channel concat";
  const what = i2v === undefined ? "text to video" : `image to video${how}`;
  return `${what}, ${guidanceEmbed ? "guidance as an input" : "without guidance as an input"}`;
}

/** The config.json in the folder of the weights; one of another kind of model belongs to another file there. */
async function configBeside({ files, source }: Checkpoint, kinds: readonly string[]): Promise<unknown> {
  const config = await findJsonFile(join(dirname(files[0] ?? source), "config.json"));
  const kind = config?.model_type;
  return typeof kind === "string" && !kinds.includes(kind) ? undefined : config;
}

/** Published files hold more than the text part (heads, the vision tower): only what is missing is of interest. */
function textFindings({ entries }: Checkpoint, { config, naming, specs }: DetectedText<object>): Findings {
  return { config, report: compareKeys(entries, naming, specs, () => false) };
}

/** By names alone; whether shapes fit a model is seen when it is fused. */
function loraFindings({ entries }: Checkpoint): Findings {
  const modules = loraModules(ditPresets.t2v);
  const names = new Set<string>();
  const ranks = new Set<number>();
  const unexpected: string[] = [];
  let others = 0;
  for (const [key, { shape }] of entries) {
    const parsed = parseLoraKey(key);
    if (parsed === undefined || findLoraModule(modules, parsed.module) === undefined) unexpected.push(key);
    else names.add(parsed.module);
    if (parsed?.role === "down") ranks.add(shape[0] ?? 0);
    if (parsed?.role === "other") others++;
  }
  const style = loraStyleOf(names, modules);
  const lora = { style, ranks: [...ranks].sort((a, b) => a - b), modules: names.size };
  const problems = [
    ...(others > 0 ? [`${others} keys are of DoRA, LoHa, LoKr or the like, which cannot be fused`] : []),
    ...(names.size === 0 ? ["no module of HunyuanVideo is changed by it: a LoRA of another model?"] : []),
  ];
  return { lora, report: { missing: [], misshapen: [], unexpected }, problems };
}
