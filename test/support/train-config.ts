/** What `hunyuan train` needs, in small: a folder of clips with captions, a model, and configurations for both. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { writeVideo } from "../../lib/io/media/index.js";
import { discClip } from "./media.js";
import { temporaryFolder } from "./tiny-pipeline.js";

/** The smallest clip that has a second latent frame. */
export const smallClip = { width: 32, height: 32, numFrames: 5 } as const;

/** Clips of different speeds, each with two captions. */
export async function captionedClips(count = 4): Promise<string> {
  const folder = join(temporaryFolder(), "clips");
  mkdirSync(folder);
  for (let i = 0; i < count; i++) {
    const clip = discClip({ ...smallClip, numFrames: 5 + i });
    await writeVideo(join(folder, `${i}.webp`), clip, { metadata: false });
    writeFileSync(join(folder, `${i}.json`), JSON.stringify({ captions: [`a red disc, ${i}`, `disc number ${i}`] }));
  }
  return folder;
}

interface Common {
  readonly model: string;
  readonly folder: string;
  readonly clips: string;
}

/** Two stages, pictures and then clips, of two steps each. */
export function stagesOf(clips: string) {
  const { width, height, numFrames } = smallClip;
  const still = { width, height, numFrames: 1, batchSize: 2 } as const;
  const moving = { width, height, numFrames, batchSize: 2 } as const;
  return [
    { name: "pictures", steps: 2, data: { source: clips, imageRatio: 0.5, buckets: [still, moving] } },
    { name: "clips", steps: 2, rate: 0.5, data: { source: clips, buckets: [moving] } },
  ] as const;
}

/** What all kinds have in common; seeds are fixed, so that the same settings give the same bytes. */
export const trainConfig = ({ model, folder, clips }: Common) => ({
  ...{ model, folder, stages: stagesOf(clips) },
  run: { seed: 3, saveEvery: 3 },
  learner: { lr: 0.01, clipNorm: 1, ema: { decay: 0.5 } },
});

/** Data that are measured. */
export const validationOf = (clips: string) => ({
  source: clips,
  buckets: [{ ...smallClip, batchSize: 2 }],
  batches: 1,
});

/** The bytes of a part's weights. */
export function weightsIn(folder: string): Buffer {
  const name = readdirSync(folder).find((file) => file.endsWith(".safetensors"));
  return readFileSync(join(folder, name ?? ""));
}
