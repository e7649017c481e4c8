/** What a request tells on its way, as the command line shows it. */
import type { GenerateEvent } from "../pipelines/progress.js";
import type { Output } from "./output.js";

/** Shows one event; the picture of a preview is left out. */
export function showEvent(out: Output, event: GenerateEvent): void {
  const { stage, step: done, steps: total, etaMs } = event;
  const record = { stage, done, total, etaMs, ...extraOf(event) };
  switch (event.stage) {
    case "sample":
      out.progress(
        { stage: nameOf("sample", event.video), done, total, etaMs, detail: `σ ${event.sigma.toFixed(3)}` },
        record,
      );
      break;
    case "decode":
      out.progress({ stage: nameOf("decode", event.video), done, total, unit: "tiles", etaMs }, record);
      break;
    case "encode":
      out.progress({ stage: "encode", done, total, etaMs, detail: event.part }, record);
      break;
    case "queued":
    case "done":
      // Between one process and its one request nothing waits, and the end is told by the result.
      if (out.json) out.progress({ stage, done, total }, record);
  }
}

const nameOf = (stage: string, video: number) => (video === 0 ? stage : `${stage} video ${video + 1}`);

function extraOf(event: GenerateEvent): { readonly [key: string]: unknown } {
  switch (event.stage) {
    case "sample":
      return { video: event.video, sigma: event.sigma };
    case "decode":
      return { video: event.video };
    case "encode":
      return { part: event.part };
    default:
      return {};
  }
}
