/** What requests will take, against what they take; and figures of the released model that are known. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { HunyuanVideo } from "../../lib/index.js";
import { refusal } from "../support/refusal.js";
import { loadTiny, tinyFolder } from "../support/tiny-pipeline.js";

const gib = 2 ** 30;

test("the released model at 720p, 129 frames", () => {
  const started = performance.now();
  const { stages, peakBytes, flops } = HunyuanVideo.estimate({ memoryLimit: 80 * gib });
  assert.ok(performance.now() - started < 2000);
  const [encode, sample, decode] = stages;
  assert.equal([encode?.stage, sample?.stage, decode?.stage], ["encode", "sample", "decode"]);
  // 12.07 PFLOP a step: 10.45 of attention, 1.62 of matrices.
  assert.ok(Math.abs((sample?.flops ?? 0) / 50 / 12.07e15 - 1) < 0.01, `${sample?.flops}`);
  // 12.8 billion parameters in two bytes, and the autoencoder's quarter of a billion.
  assert.ok(Math.abs((sample?.parameterBytes ?? 0) / (2 * (12_821_012_544 + 246_498_099)) - 1) < 0.001);
  assert.ok((decode?.peakBytes ?? 0) <= 80 * gib);
  assert.is(peakBytes, Math.max(...stages.map((stage) => stage.peakBytes)));
  assert.is(
    flops,
    stages.reduce((sum, stage) => sum + stage.flops, 0),
  );
});

test("fewer frames, true guidance, several videos and offload show", () => {
  const base = HunyuanVideo.estimate({ width: 960, height: 544 });
  const [, sample] = base.stages;
  const short = HunyuanVideo.estimate({ width: 960, height: 544, numFrames: 65 });
  assert.ok((short.stages[1]?.flops ?? 0) < (sample?.flops ?? 0) / 2);
  assert.is(
    HunyuanVideo.estimate({ width: 960, height: 544, trueCfgScale: 6 }).stages[1]?.flops,
    2 * (sample?.flops ?? 0),
  );
  assert.is(
    HunyuanVideo.estimate({ width: 960, height: 544, numVideos: 3 }).stages[1]?.flops,
    3 * (sample?.flops ?? 0),
  );
  const streamed = HunyuanVideo.estimate({ width: 960, height: 544, offload: "blocks" }).stages[1];
  assert.ok((streamed?.parameterBytes ?? 0) < (sample?.parameterBytes ?? 0) / 8);
  const undistilled = HunyuanVideo.estimate({ width: 960, height: 544, variant: "t2vUndistilled" });
  assert.ok((undistilled.stages[1]?.flops ?? 0) > 1.9 * (sample?.flops ?? 0));
});

test("a memory limit decides the tiles", () => {
  const free = HunyuanVideo.estimate({ numFrames: 33, width: 640, height: 640 });
  assert.equal([free.tiles, free.tiling], [1, {}]);
  const limited = HunyuanVideo.estimate({ numFrames: 33, width: 640, height: 640, memoryLimit: 30 * gib });
  assert.ok(limited.tiles > 1);
  assert.is(refusal(() => HunyuanVideo.estimate({ memoryLimit: gib })).code, "OUT_OF_MEMORY");
});

test("what is no size is refused", () => {
  assert.match(
    refusal(() => HunyuanVideo.estimate({ width: 7 })).message,
    /estimate: width is 7, expected a multiple of 16/,
  );
});

test("a loaded model's estimate is near what it takes", async () => {
  await using model = await loadTiny(tinyFolder());
  const size = { width: 192, height: 128, numFrames: 17, numInferenceSteps: 2 };
  const { stages } = model.estimate(size);
  const peaks: { [stage: string]: number } = {};
  let stage = "encode";
  model.device.resetPeak();
  await model.generate(
    { prompt: "a cat", seed: 1, ...size },
    {
      onProgress: (event) => {
        // The first event of a stage ends the one before.
        if (event.stage === stage || event.stage === "queued") return;
        peaks[stage] = model.device.memory().peak;
        model.device.resetPeak();
        stage = event.stage;
      },
    },
  );
  for (const { stage: name, peakBytes } of stages) {
    const ratio = (peaks[name] ?? 0) / peakBytes;
    assert.ok(ratio > 0.85 && ratio < 1.1, `${name}: ${peaks[name]} of ${peakBytes} bytes`);
  }
});

test.run();
