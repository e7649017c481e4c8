/** What a run tells: its preparation, then its steps. */
import type { TrainingEvent } from "../../train/progress.js";
import type { TrainingResult } from "../../train/trainer.js";

export interface PrepareEvent {
  readonly kind: "prepare";
  readonly what: "model" | "data" | "latents" | "prompts" | "preserved videos";
  readonly done: number;
  readonly total: number;
  readonly detail?: string | undefined;
}

export interface NoteEvent {
  readonly kind: "note";
  readonly text: string;
}

export type RunEvent = TrainingEvent | PrepareEvent | NoteEvent;

export interface RunHooks {
  /** When it fires, the step under way is finished and saved; while things are prepared, the run is aborted. */
  readonly signal?: AbortSignal | undefined;
  readonly onEvent?: ((event: RunEvent) => void) | undefined;
}

export interface RunResult extends TrainingResult {
  /** What was written at the end; none when the run was stopped before. */
  readonly files: readonly string[];
}
