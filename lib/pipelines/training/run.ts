/** A training run from beginning to end, as a configuration says it. */
import { HunyuanError } from "../../runtime/errors.js";
import { describeIssues, trainingSchema } from "./config.js";
import { runDitTraining } from "./dit-run.js";
import type { RunHooks, RunResult } from "./events.js";
import { runVaeTraining } from "./vae-run.js";

/**
 * Trains what the configuration names, or goes on where a run in its folder stopped: `full` (a transformer, also together
 * with small text encoders), `lora`, `distil` (a student that takes guidance as an input), `vae`.
 *
 * @param config as a JSON file has it; docs/training.md lists the settings
 * @throws INVALID_ARGUMENT naming each setting that is wrong; what loading a model, opening data and training throw
 * @example
 * const config = JSON.parse(await readFile("lora.json", "utf8"));
 * const { finished, files } = await runTrainingConfig(config, { onEvent: console.log });
 */
export async function runTrainingConfig(config: unknown, hooks: RunHooks = {}): Promise<RunResult> {
  const { success, data, error } = trainingSchema.safeParse(config);
  if (success) return data.kind === "vae" ? runVaeTraining(data, hooks) : runDitTraining(data, hooks);
  const message = `runTrainingConfig: ${describeIssues(error).join("; ")}`;
  const argument = error.issues[0]?.path.map(String).join(".") || "config";
  throw new HunyuanError("INVALID_ARGUMENT", message, { op: "runTrainingConfig", argument });
}
