/** Whole training runs as configurations: each kind from a folder of clips to files that load. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { HunyuanVideo } from "../../lib/index.js";
import { openCheckpoint } from "../../lib/io/checkpoint.js";
import { inspectCheckpoint } from "../../lib/models/inspect.js";
import { type RunEvent, runTrainingConfig } from "../../lib/train.js";
import { rejection } from "../support/refusal.js";
import { loadTiny, sameBytes, smallRequest, temporaryFolder, tinyFolder } from "../support/tiny-pipeline.js";
import { captionedClips, smallClip, stagesOf, trainConfig, validationOf, weightsIn } from "../support/train-config.js";

const test = suite("training: runs by configuration");
const clips = await captionedClips();
/** Takes guidance as an input. */
const guided = tinyFolder();
/** Does not, so that it can be a teacher. */
const plain = tinyFolder({ dit: { guidanceEmbed: false } });
const runs = temporaryFolder();
let made = 0;
const common = (model: string) => trainConfig({ model, clips, folder: join(runs, String(made++)) });
const request = { ...smallRequest, ...smallClip, numInferenceSteps: 2 };
const changed = (folder: string, model: string, part: string) =>
  !weightsIn(join(folder, part)).equals(weightsIn(join(model, part)));

/** The clips and captions are encoded once for a model, by whichever run comes first. */
const cacheOf = (model: string) => ({ cache: `${model}-cache` });

async function collected(config: object) {
  const events: RunEvent[] = [];
  const result = await runTrainingConfig(config, { onEvent: (event) => events.push(event) });
  assert.is(result.finished, true);
  return { ...result, events };
}

test("full, with its text encoders: stages, validation, samples, report; what is saved loads", async () => {
  const samples = { prompts: ["a red disc, 1"], ...smallClip, steps: 2, guidance: 2 };
  const config = {
    ...{ kind: "full", ...common(plain), ...cacheOf(plain), text: "trained", captionDropout: 0.5, samples },
    ...{ validation: validationOf(clips), run: { seed: 3, validateEvery: 4, sampleEvery: 4 } },
  } as const;
  const { step, files, best, events } = await collected(config);
  assert.is(step, 4);
  const { folder } = config;
  const parts = ["transformer", "text_encoder", "text_encoder_2"];
  assert.equal(
    files.filter((file) => file.endsWith("config.json")),
    parts.map((part) => join(folder, part, "config.json")),
  );
  for (const part of parts) assert.ok(changed(folder, plain, part), part);
  const steps = events.flatMap((event) => (event.kind === "step" ? [event.stage] : []));
  assert.equal(steps, ["pictures", "pictures", "clips", "clips"]);
  const validations = events.flatMap((event) => (event.kind === "validation" ? [event.metrics] : []));
  assert.is(validations.length, 1);
  assert.is(validations[0]?.loss, best);
  const shown = events.flatMap((event) => (event.kind === "sample" ? event.files : []));
  assert.is(shown.length, 1);
  assert.ok(existsSync(shown[0] as string), `${shown}`);
  assert.match(readFileSync(join(folder, "report.html"), "utf8"), /a red disc, 1/);
  const [transformer, llama, clip] = parts.map((part) => join(folder, part)) as [string, string, string];
  await using before = await loadTiny(plain);
  await using after = await loadTiny(plain, { transformer, llama, clip });
  assert.not.ok(sameBytes(await before.generate(request), await after.generate(request)));
});

/** The bytes of each tensor of a part. */
async function tensorsOf(folder: string): Promise<ReadonlyMap<string, Buffer>> {
  const { entries, files } = await openCheckpoint(folder);
  const file = readFileSync(files[0] as string);
  return new Map([...entries].map(([name, { offset, bytes }]) => [name, file.subarray(offset, offset + bytes)]));
}

test("full, text frozen: only the parameters that are named move; blocks that are computed again give the same losses", async () => {
  const losses: number[][] = [];
  for (const checkpoint of [false, true]) {
    const include = ["double_blocks.*.weight"];
    const config = { kind: "full", ...common(guided), ...cacheOf(guided), include, checkpoint } as const;
    const { files, events } = await collected(config);
    assert.is(files.length, 2);
    losses.push(events.flatMap((event) => (event.kind === "step" ? [event.metrics.loss as number] : [])));
    const [now, then] = [join(config.folder, "transformer"), join(guided, "transformer")].map(tensorsOf);
    const base = (await then) as ReadonlyMap<string, Buffer>;
    const tensors = [...((await now) as typeof base)];
    const moved = tensors.filter(([name, bytes]) => !bytes.equals(base.get(name) as Buffer)).map(([name]) => name);
    assert.ok(moved.length > 0 && moved.every((name) => /^transformer_blocks\..*weight$/.test(name)), moved.join());
  }
  const [plain, again] = losses as [number[], number[]];
  assert.is(plain.length, 4);
  for (const [i, loss] of plain.entries())
    assert.ok(Math.abs(loss - (again[i] as number)) < 1e-5 * loss, losses.join(" | "));
});

test("bf16: steps are made on f32 masters, which the states hold; what is saved is bf16", async () => {
  const learner = { lr: 1e-5, ema: { decay: 0.5 } };
  const config = { kind: "full", ...common(guided), cache: `${guided}-bf16`, dtype: "bf16", learner } as const;
  await collected(config);
  const state = await openCheckpoint(join(config.folder, "states", "step-000000004.safetensors"));
  const counts: { [type: string]: number } = {};
  for (const { name, dtype } of state.entries.values()) {
    const type = `${name.split("/")[0]} ${dtype}`;
    counts[type] = (counts[type] ?? 0) + 1;
  }
  assert.is(counts["parameters f32"], counts["parameters bf16"]);
  assert.is(counts["ema f32"], counts["parameters bf16"]);
  const saved = await inspectCheckpoint(join(config.folder, "transformer"));
  assert.equal(
    saved.dtypes.map(({ dtype }) => dtype),
    ["bf16"],
  );
});

/** A LoRA's video, and that of the model after it has been taken out again. */
async function withLora(model: HunyuanVideo, file: string) {
  const { rank } = await model.loadLora(file);
  assert.is(rank, 2);
  const fused = await model.generate(request);
  await model.unloadLora(file);
  return { fused, after: await model.generate(request) };
}

test("LoRA in two spellings: trained, loaded, fused to about the same, and taken out to the very same", async () => {
  await using model = await loadTiny(guided);
  const base = await model.generate(request);
  const videos: Uint8Array[] = [];
  for (const style of ["kohya", "diffusers"] as const) {
    const stages = [{ ...stagesOf(clips)[1], steps: 3 }];
    const lora = { rank: 2, alpha: 4, style };
    const learner = { lr: 0.1 };
    const config = { kind: "lora", ...common(guided), ...cacheOf(guided), stages, lora, learner } as const;
    const { files } = await collected(config);
    assert.equal(files, [join(config.folder, "lora.safetensors")]);
    assert.is((await inspectCheckpoint(files[0] as string)).lora?.style, style);
    const { fused, after } = await withLora(model, files[0] as string);
    assert.not.ok(sameBytes(fused, base), style);
    assert.ok(sameBytes(after, base), style);
    videos.push(fused.data);
  }
  const [one, other] = videos as [Uint8Array, Uint8Array];
  const worst = one.reduce((most, value, i) => Math.max(most, Math.abs(value - (other[i] as number))), 0);
  assert.ok(worst <= 2, `spelled otherwise, a value differs by ${worst}`);
});

test("LoRA that preserves other captions: told each step; not with text encoders that learn", async () => {
  const [, stage] = stagesOf(clips);
  const preserve = { captions: ["a blue disc", ""], weight: 2, share: 0.5, steps: 2 };
  const settings = { stages: [stage], preserve, guidanceForm: "off", guidance: 3 } as const;
  const lora = { kind: "lora", ...common(guided), ...cacheOf(guided), ...settings, lora: { rank: 2 } };
  const { events } = await collected(lora);
  const told = events.flatMap((event) => (event.kind === "step" ? [event.metrics.preserved ?? Number.NaN] : []));
  assert.is(told.length, 2);
  assert.ok((told[0] as number) < 1e-9 && (told[1] as number) > 0, told.join());
  const madeIn = (run: readonly RunEvent[]) =>
    run.flatMap((event) =>
      event.kind === "prepare" && event.what === "preserved videos" ? [`${event.done} of ${event.total}`] : [],
    );
  assert.equal(madeIn(events), ["0 of 2", "1 of 2", "2 of 2"]);
  assert.equal(madeIn((await collected(lora)).events), [], "a run that is at its end makes none");
  const full = { kind: "full", ...common(plain), ...cacheOf(plain), preserve: { ...preserve, steps: 0 } };
  const whole = await collected(full);
  assert.is(whole.step, 4);
  assert.equal(madeIn(whole.events), []);
  const refused = await rejection(runTrainingConfig({ ...full, ...common(plain), text: "trained" }));
  assert.is(refused.code, "INVALID_ARGUMENT");
  assert.match(refused.message, /"text": "frozen"/);
});

test("distil: a student that takes guidance; a teacher that takes it already is refused", async () => {
  const validation = validationOf(clips);
  const settings = { guidance: [1, 6], validation, run: { seed: 3, validateEvery: 4 } };
  const config = { kind: "distil", ...common(plain), ...cacheOf(plain), ...settings } as const;
  const { files } = await collected(config);
  assert.is(files.length, 2);
  const student = await inspectCheckpoint(join(config.folder, "transformer"));
  assert.match(student.variant ?? "", /guidance as an input$/);
  assert.not.match(student.variant ?? "", /without/);
  await using model = await loadTiny(plain, { transformer: join(config.folder, "transformer") });
  const weak = await model.generate({ ...request, guidanceScale: 1 });
  assert.not.ok(sameBytes(weak, await model.generate({ ...request, guidanceScale: 6 })));
  const refused = await rejection(runTrainingConfig({ ...config, ...common(guided), ...cacheOf(guided) }));
  assert.match(refused.message, /takes guidance as an input already/);
  // It goes on from an earlier student; a teacher is none.
  const earlier = join(config.folder, "transformer");
  const further = { ...config, ...common(plain), ...cacheOf(plain), student: earlier, learner: { lr: 1e-30 } };
  await collected(further);
  assert.ok(weightsIn(join(further.folder, "transformer")).equals(weightsIn(earlier)));
  const other = await rejection(
    runTrainingConfig({ ...further, ...common(plain), student: join(plain, "transformer") }),
  );
  assert.match(other.message, /is no student of this teacher/);
});

test("distil with a teacher that learns: it is saved beside the student, and can be the next one's teacher", async () => {
  const config = { kind: "distil", ...common(plain), ...cacheOf(plain), guidance: [1, 6], teacher: {} } as const;
  const { files } = await collected(config);
  assert.is(files.length, 4);
  const [student, teacher] = [join(config.folder, "transformer"), join(config.folder, "teacher", "transformer")];
  assert.not.ok(weightsIn(teacher).equals(weightsIn(join(plain, "transformer"))));
  assert.match((await inspectCheckpoint(teacher)).variant ?? "", /without/);
  const further = { ...config, ...common(plain), teacher: undefined, parts: { transformer: teacher }, student };
  assert.is((await collected(further)).files.length, 2);
});

test("vae, with an adversary: told, measured, and saved as one that loads", async () => {
  const stages = stagesOf(clips).map((stage) => ({ ...stage, steps: 1, crop: "keep" }));
  const adversary = { channels: 8, layers: 1, learner: { lr: 0.001 }, start: 1 };
  const config = {
    ...{ kind: "vae", ...common(guided), stages, adversary, statisticsBatches: 1, saveDtype: "bf16" },
    ...{ validation: validationOf(clips), run: { seed: 3, validateEvery: 2, sampleEvery: 2 } },
  } as const;
  const { files, events } = await collected(config);
  const notes = events.flatMap((event) => (event.kind === "note" ? [event.text] : []));
  assert.ok(
    notes.some((text) => /losses: l1, adversarial, kl/.test(text)),
    notes.join("\n"),
  );
  assert.ok(notes.some((text) => /perceptual loss is off/.test(text)));
  const steps = events.flatMap((event) => (event.kind === "step" ? [event.metrics] : []));
  assert.equal([steps[0]?.discriminator === undefined, steps[1]?.discriminator === undefined], [true, false]);
  const psnr = events.flatMap((event) => (event.kind === "validation" ? [event.metrics.psnr] : []));
  assert.ok(psnr.length === 1 && Number.isFinite(psnr[0]));
  assert.is(events.filter(({ kind }) => kind === "sample").length, 1);
  assert.equal(
    files,
    ["diffusion_pytorch_model.safetensors", "config.json"].map((name) => join(config.folder, "vae", name)),
  );
  await using model = await loadTiny(guided, { vae: join(config.folder, "vae") });
  assert.is((await model.generate(request)).numFrames, 5);
});

test("vae, its decoder alone: the encoder and what latents mean stay as they were, to the bit", async () => {
  const stages = stagesOf(clips).slice(1);
  const config = { kind: "vae", ...common(guided), stages, include: ["decoder.*"], latents: "keep" } as const;
  await collected(config);
  const [before, after] = await Promise.all([guided, config.folder].map((folder) => tensorsOf(join(folder, "vae"))));
  const moved = [...(before as typeof after)!].filter(([name, bytes]) => !after?.get(name)?.equals(bytes));
  assert.ok(moved.length > 0);
  assert.equal(
    moved.filter(([name]) => !name.startsWith("decoder.")).map(([name]) => name),
    [],
  );
  const factor = (folder: string) =>
    (JSON.parse(readFileSync(join(folder, "vae", "config.json"), "utf8")) as { scaling_factor: number }).scaling_factor;
  assert.is(factor(config.folder), factor(guided));
});

test("validation data that are not there are found before the first step, whatever is trained", async () => {
  const validation = { ...validationOf(clips), source: join(clips, "nowhere") };
  for (const config of [
    { kind: "vae", ...common(guided), validation },
    { kind: "full", ...common(guided), ...cacheOf(guided), validation },
  ]) {
    const error = await rejection(runTrainingConfig(config));
    assert.is(error.code, "FILE_ERROR");
    assert.not.ok(existsSync(join(config.folder, "states")));
  }
});

test.run();
