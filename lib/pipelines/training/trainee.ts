/** What a transformer's run trains, how that is judged, and how it is saved: the whole model, adapters, or a student. */
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { HunyuanDit } from "../../models/dit/model.js";
import { openDit } from "../../models/dit/open.js";
import { ditSpec } from "../../models/dit/spec.js";
import type { TextEncoders } from "../../models/text/encode.js";
import { loadParams } from "../../nn/load.js";
import { Params, ResidentStore } from "../../nn/params.js";
import { copyView } from "../../ops/copy.js";
import { HunyuanError } from "../../runtime/errors.js";
import type { Tensor } from "../../tensor/tensor.js";
import type { LatentBatch } from "../../train/data/latents.js";
import { jointDistillationLosses } from "../../train/distil/joint.js";
import { distillationLosses, guidanceAwareLosses } from "../../train/distil/losses.js";
import { studentOf } from "../../train/distil/student.js";
import type { DitTaskOptions } from "../../train/dit-task.js";
import { LoraAdapters } from "../../train/lora/adapters.js";
import { saveLora } from "../../train/lora/save.js";
import type { TextCondition } from "../../train/objective.js";
import { ParameterSet, parametersOf, selectedOf } from "../../train/parameters.js";
import type { LoadedModel } from "../loaded-model.js";
import type { DitTrainingConfig } from "./config.js";
import { saveTextEncoders, saveTransformer } from "./save-model.js";

export interface Trainee extends Disposable {
  readonly dit: HunyuanDit;
  /** The training task's from then on. */
  readonly parameters: ParameterSet;
  readonly objective: DitTaskOptions<LatentBatch>["objective"];
  /** The model as it was, where something asks for it. */
  readonly frozen: HunyuanDit | undefined;
  /** Writes what was trained as other tools load it; called with the averaged weights in place. */
  save(folder: string): Promise<readonly string[]>;
}

type ConfigOf<K extends DitTrainingConfig["kind"]> = Extract<DitTrainingConfig, { kind: K }>;

/** @param encoders where they are trained too */
export async function traineeOf(
  config: DitTrainingConfig,
  model: LoadedModel,
  { encoders, signal }: { readonly encoders: TextEncoders | undefined; readonly signal: AbortSignal | undefined },
): Promise<Trainee> {
  if (config.kind === "lora") return adapters(config, model);
  if (config.kind === "distil") return student(config, { model, signal });
  return wholeModel(config, model, encoders);
}

/** All of the transformer, or what patterns choose of it; with small text encoders, if these are to learn. */
function wholeModel(config: ConfigOf<"full">, model: LoadedModel, encoders: TextEncoders | undefined): Trainee {
  const { include, exclude, saveDtype } = config;
  const { dit } = model;
  if (config.preserve !== undefined && encoders !== undefined) {
    const message =
      'training: "preserve" compares with the model as it was, which text encoders that learn leave behind; expected "text": "frozen"';
    throw new HunyuanError("INVALID_ARGUMENT", message, { op: "training", argument: "preserve" });
  }
  const chosen = selectedOf(dit.params, { include, exclude });
  const text = encoders === undefined ? [] : textParameters(encoders);
  const guided = keepsGuidance(config, dit);
  const frozen = guided || config.preserve !== undefined ? copyOf(dit) : undefined;
  return {
    dit,
    parameters: new ParameterSet([...chosen, ...text]),
    frozen,
    objective: frozen && guided ? guidanceAware(config, frozen) : undefined,
    save: async (folder) => [
      ...(await saveTransformer(dit, folder, { dtype: saveDtype })),
      ...(encoders === undefined ? [] : await saveTextEncoders(encoders, folder, { dtype: saveDtype })),
    ],
    [Symbol.dispose]: () => frozen?.params.dispose(),
  };
}

function adapters(config: ConfigOf<"lora">, model: LoadedModel): Trainee {
  const { saveDtype, run } = config;
  const { targets, exclude, style, ...settings } = config.lora;
  const patterns = (list: readonly string[] | undefined) => list?.map((one) => new RegExp(one));
  const { dit } = model;
  const lora = new LoraAdapters(dit.params, ditSpec(dit.config), {
    ...settings,
    ...{ targets: patterns(targets), exclude: patterns(exclude), seed: run.seed },
  });
  const file = (folder: string) => join(folder, "lora.safetensors");
  return {
    dit: new HunyuanDit(dit.config, lora.params),
    parameters: new ParameterSet(lora.named()),
    // Without its adapters the model is as it was.
    frozen: dit,
    objective: keepsGuidance(config, dit) ? guidanceAware(config, dit) : undefined,
    save: async (folder) => [await saveLora(file(folder), lora, dit.config, { style, dtype: saveDtype })],
    [Symbol.dispose]: () => lora.dispose(),
  };
}

async function student(
  config: ConfigOf<"distil">,
  { model, signal }: { readonly model: LoadedModel; readonly signal: AbortSignal | undefined },
): Promise<Trainee> {
  const { saveDtype: dtype, student: path, teacher: learns } = config;
  const { dit: original } = model;
  const dit = path === undefined ? studentOf(original) : await earlierStudent(path, model, signal);
  const saveStudent = (folder: string) => saveTransformer(dit, folder, { dtype });
  if (learns === undefined) {
    return {
      dit,
      parameters: parametersOf(dit.params),
      frozen: undefined,
      objective: (own, sample, empty) => distillationLosses(own, original, sample, needed(empty)),
      save: saveStudent,
      [Symbol.dispose]: () => dit.params.dispose(),
    };
  }
  const teacher = copyOf(original);
  const both = { teacher, original, hold: learns.hold };
  return {
    dit,
    parameters: new ParameterSet([...selectedOf(dit.params), ...selectedOf(teacher.params, { prefix: "teacher." })]),
    frozen: undefined,
    objective: (own, sample, empty) => jointDistillationLosses(own, both, sample, needed(empty)),
    // The student last: it is what tells that a run has come to its end.
    save: async (folder) => [
      ...(await saveTransformer(teacher, join(folder, "teacher"), { dtype })),
      ...(await saveStudent(folder)),
    ],
    [Symbol.dispose]: () => {
      for (const one of [dit, teacher]) one.params.dispose();
    },
  };
}

/** @throws INVALID_ARGUMENT unless it is the teacher's size and takes guidance; what opening and reading a transformer throws */
async function earlierStudent(
  path: string,
  { dit: { config: teacher }, device, dtypes }: LoadedModel,
  signal: AbortSignal | undefined,
): Promise<HunyuanDit> {
  const { config, checkpoint, specs, naming } = await openDit(path);
  if (!isDeepStrictEqual(config, { ...teacher, guidanceEmbed: true })) {
    const message = `training: ${path} is no student of this teacher; expected a transformer of its size that takes guidance as an input`;
    throw new HunyuanError("INVALID_ARGUMENT", message, { op: "training", argument: "student" });
  }
  return new HunyuanDit(config, await loadParams(device, checkpoint, specs, naming, { dtype: dtypes.dit, signal }));
}

const keepsGuidance = ({ guidanceForm }: ConfigOf<"full"> | ConfigOf<"lora">, { config }: HunyuanDit) =>
  config.guidanceEmbed && guidanceForm !== "off";

function guidanceAware(
  { guidanceForm = "prediction" }: ConfigOf<"full"> | ConfigOf<"lora">,
  frozen: HunyuanDit,
): Trainee["objective"] {
  if (guidanceForm === "off") return undefined;
  return (dit, sample, empty) => guidanceAwareLosses(dit, frozen, sample, needed(empty), { form: guidanceForm });
}

/** Runs always have an empty caption; tasks of other callers need none. */
function needed(empty: TextCondition | undefined): TextCondition {
  if (empty !== undefined) return empty;
  throw new HunyuanError("INVALID_ARGUMENT", "training: this objective needs the empty caption", {
    op: "training",
    argument: "emptyCaption",
  });
}

function copyOf({ config, params }: HunyuanDit): HunyuanDit {
  const copies = [...params.names()].map((name) => {
    const held = params.get(name);
    const copy = copyView(held, held, held.dtype);
    copy.moveTo(undefined);
    return [name, copy] as const;
  });
  return new HunyuanDit(config, new Params(new ResidentStore(copies)));
}

function textParameters({ llama, clip }: TextEncoders): readonly (readonly [string, Tensor])[] {
  return [...selectedOf(llama.params, { prefix: "llama." }), ...selectedOf(clip.params, { prefix: "clip." })];
}
