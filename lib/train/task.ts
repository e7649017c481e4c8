/** What the training loop asks of a thing that learns, and of its data. */
import type { Stage, StepPlace } from "./stages.js";
import type { Stateful, StateParts } from "./stateful.js";

/** Numbers of a step, by name; "loss" is shown first and watched. */
export type Metrics = Readonly<Record<string, number>>;

/**
 * Endless batches, and their place as a part of the state. What `data` gives is the place behind the last batch that was
 * taken, however many are being prepared. It has no tensors.
 */
export interface BatchSource<B> extends Stateful {
  take(): Promise<B>;
  close?(): Promise<void>;
}

/** A picture for the report: a contact sheet of a clip. */
export interface SampleStrip {
  readonly caption: string;
  readonly type: "image/png" | "image/webp" | "image/jpeg";
  readonly bytes: Uint8Array;
}

/**
 * Something that learns, step by step. What a step does may depend on the batches, on the place in the run and on the
 * parts, and on nothing else: then a resumed run goes on bit for bit.
 */
export interface TrainingTask<B, S extends Stage = Stage> {
  /**
   * One step, over as many batches as it wants. It ends when all it queued has run, and leaves no tensor behind.
   *
   * @returns at least `loss`
   */
  step(take: () => Promise<B>, place: StepPlace<S>): Promise<Metrics>;
  /** Everything that steps change. The names "run" is the loop's. */
  parts(): StateParts;
  /** Measures without learning; `loss` decides which state is the best. */
  validate?(place: StepPlace<S>): Promise<Metrics>;
  /** Shows what the model can do by now. */
  sample?(place: StepPlace<S>): Promise<readonly SampleStrip[]>;
}
