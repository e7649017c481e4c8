// README.md of the small model, and what requests to it take where they say nothing.
import { join } from "node:path";
import type { ModelDefaults } from "../lib/models/defaults.js";
import { inspectCheckpoint } from "../lib/models/inspect.js";
import type { DitTrainingConfig, VaeTrainingConfig } from "../lib/pipelines/training/config.js";
import { demoClip } from "../lib/train/demo/scene.js";
import { backgroundNames, colourNames, motionNames, shapeNames } from "../lib/train/demo/vocabulary.js";
import { type MetricsRow, readRows } from "../lib/train/metrics.js";

export const demoDefaults = {
  ...demoClip,
  numInferenceSteps: 20,
  flowShift: 3,
  guidanceScale: 4,
  // The demo's captions have no word for what is not to be seen.
  negativePrompt: "",
} as const satisfies ModelDefaults;

export interface DemoCardOptions {
  readonly from: "teacher" | "student";
  /** Folders of the parts, before they are rounded to bf16. */
  readonly transformer: string;
  readonly vae: string;
  readonly llama: string;
  readonly clip: string;
  readonly recipes: {
    readonly vae: VaeTrainingConfig;
    readonly colours: VaeTrainingConfig;
    readonly dit: DitTrainingConfig;
    readonly distil: Extract<DitTrainingConfig, { kind: "distil" }>;
  };
}

const parts = {
  transformer: "transformer",
  vae: "causal autoencoder",
  llama: "Llama",
  clip: "CLIP text model",
} as const;

/** Figures are those of the parts and of the run itself; what was not measured is not said. */
export async function demoCard(options: DemoCardOptions): Promise<string> {
  const { width, height, numFrames, fps } = demoClip;
  const rows: string[] = [];
  let total = 0;
  for (const [name, what] of Object.entries(parts)) {
    const { parameters } = await inspectCheckpoint(options[name as keyof typeof parts]);
    total += parameters;
    rows.push(`| ${what} | ${millions(parameters)} |`);
  }
  const clip = `${numFrames} frames of ${width} × ${height} pixels at ${fps} a second`;
  return `---
license: apache-2.0
language: en
pipeline_tag: text-to-video
library_name: hunyuan-native
---

# The demo model of hunyuan-native

A HunyuanVideo in small: every part of the large one (causal autoencoder, dual- and single-stream transformer with text
refiner, language model and CLIP text model), trained from random weights for clips of one coloured shape that moves. The
weights are our own, made by this project and under its licence (Apache-2.0); none of them come from Tencent's release.
It is there so that everything can be tried and tested in seconds on any computer.

| part | parameters |
| --- | --- |
${rows.join("\n")}

In bf16 that is ${((total * 2) / 1e6).toFixed(1)} MB.

## Use

\`\`\`sh
npx hunyuan generate "a red circle moves left on a black background" -o circle.gif
\`\`\`

What a request leaves out is taken from hunyuan.json: ${clip}, ${demoDefaults.numInferenceSteps} steps, shift ${demoDefaults.flowShift}. ${
    options.from === "student"
      ? `Guidance is an input of the transformer, so that a step takes one pass; the default is ${demoDefaults.guidanceScale}.`
      : 'The transformer takes no guidance as an input: true guidance (--true-cfg 3 --negative "") makes it follow the prompt, in two passes a step.'
  }

## What it can do

Prompts like "a red circle moves left on a black background", in these words and a few synonyms:

- colours: ${colourNames.join(", ")}
- shapes: ${shapeNames.join(", ")}
- motions: ${motionNames.join(", ")}
- backgrounds: ${backgroundNames.join(", ")}

How often it gets each of them right, \`npx hunyuan eval -o eval\` measures from the pixels.

## What it cannot do

Anything else. It has seen no photograph, no second object and no other motion; of other sizes and lengths it makes nothing
sensible; words that it has not been trained with mean nothing to it. 32 of the 256 combinations of colour, shape and
motion were never shown in training. It makes mistakes also with what it has seen.

## How it was made

\`npm run train:demo\` in the project's repository repeats all of it from nothing:

1. Clips are rendered by scripts/demo-data.ts, ${clip}, with several captions each. Nothing was collected from anywhere.
${[
  autoencoderLine(options, await readRows(join(options.recipes.colours.folder, "metrics.jsonl"))),
  ...transformerLines(options),
]
  .map((line, i) => `${i + 2}. ${line}`)
  .join("\n")}

Recipes with all settings: scripts/demo-recipe in the repository.
`;
}

const millions = (count: number) => `${(count / 1e6).toFixed(2)} million`;

const stepsOf = ({ stages }: { readonly stages: readonly { readonly steps: number }[] }) =>
  stages.reduce((sum, { steps }) => sum + steps, 0);

function autoencoderLine({ recipes }: DemoCardOptions, rows: readonly MetricsRow[]): string {
  const measured = rows.flatMap((row) => (row.kind === "validation" && row.values.psnr !== undefined ? [row] : []));
  const last = measured.at(-1);
  const quality = last?.values.psnr;
  return (
    `The autoencoder starts as a blur codec and is trained for ${stepsOf(recipes.vae)} steps on crops; its latents are then ` +
    `brought to mean 0 and variance 1. Its decoder alone goes on for ${stepsOf(recipes.colours)} steps with clips in any colour.${
      quality === undefined
        ? ""
        : ` PSNR of whole clips of the validation set after step ${last?.step}, before rounding to bf16: ${quality.toFixed(1)} dB.`
    }`
  );
}

function transformerLines({ from, recipes }: DemoCardOptions): string[] {
  const size = ({ stages }: DitTrainingConfig) => stages[0]?.data.buckets[0]?.batchSize ?? 0;
  const { dit, distil } = recipes;
  const together = `Transformer and both text encoders are trained together, ${stepsOf(dit)} steps of ${size(dit)} clips.`;
  if (from === "teacher") return [together];
  const scales = [distil.guidance ?? [1, 8]].flat().join(" to ");
  return [
    together,
    `A student learns in ${stepsOf(distil)} steps of ${size(distil)} clips to make in one pass what its teacher makes with true guidance in two, at scales of ${scales}.${
      distil.teacher === undefined
        ? ""
        : " A copy of the teacher learns too, so that it asks for what a student can hold."
    }`,
  ];
}
