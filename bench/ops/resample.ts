/** Resampling of videos, [B, T, H, W, C]. */
import { resizeBilinear, upsampleNearest } from "../../lib/tensor.js";
import { type BenchCase, forward, shapes } from "../case.js";

function onVideo(dtype: "f32" | "bf16"): readonly BenchCase[] {
  const channels = dtype === "f32" ? 256 : 512;
  const x = { shape: [1, 5, 64, 64, channels], dtype };
  const frames = { shape: [5, 256, 256, channels / 8], dtype };
  return [
    forward({
      op: "upsampleNearest",
      shape: `${shapes(x.shape)} by 2·2·2, first frame kept`,
      dtype,
      bound: "copy",
      inputs: { x },
      run: (t) => upsampleNearest(t.x, [2, 2, 2], { firstFrame: true }),
    }),
    forward({
      op: "resizeBilinear",
      shape: `${shapes(frames.shape)} to 512 · 512`,
      dtype,
      bound: "copy",
      peer: { kind: "resize_bilinear", dtype, shape: frames.shape, height: 512, width: 512 },
      inputs: { x: frames },
      run: (t) => resizeBilinear(t.x, { height: 512, width: 512 }),
    }),
  ];
}

export const cases: readonly BenchCase[] = [...onVideo("f32"), ...onVideo("bf16")];
