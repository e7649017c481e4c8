/** The autoencoder's convolutions: causal in time, the edge repeated, [B, T, H, W, C]. */
import { conv3d } from "../../lib/tensor.js";
import { type BenchCase, backward, forward, shapes } from "../case.js";

type Float = "f32" | "bf16";

export interface Sizes {
  readonly cin: number;
  readonly cout: number;
  readonly grid: readonly [t: number, h: number, w: number];
  readonly kernel?: 1 | 3;
  readonly stride?: readonly [1 | 2, 1 | 2, 1 | 2];
}

function specOf({ cin, cout, grid, kernel = 3, stride = [1, 1, 1] }: Sizes, dtype: Float) {
  const x = [1, ...grid, cin];
  const weight = [cout, kernel, kernel, kernel, cin];
  const step = stride.some((s) => s !== 1) ? `, stride ${stride.join("·")}` : "";
  return {
    shape: `${shapes(x)} → ${cout}, k${kernel}${step}`,
    dtype,
    bound: "fma" as const,
    stride,
    task: { dtype, cin, cout, grid, kernel, stride },
    inputs: {
      x: { shape: x, dtype },
      weight: { shape: weight, dtype, scale: 1 / Math.sqrt(kernel ** 3 * cin) },
      bias: { shape: [cout], dtype },
    },
  };
}

export function conv(sizes: Sizes, dtype: Float): BenchCase {
  const { stride, task, ...spec } = specOf(sizes, dtype);
  return forward({
    ...spec,
    op: "conv3d",
    peer: { kind: "conv3d", ...task },
    run: ({ x, weight, bias }) => conv3d(x, weight, { bias, stride }),
  });
}

export function convGradients(sizes: Sizes, dtype: Float): BenchCase {
  const { stride, task, ...spec } = specOf(sizes, dtype);
  return backward({
    ...spec,
    op: "conv3d gradients",
    peer: { kind: "conv3d_backward", ...task },
    gradients: ["x", "weight", "bias"],
    run: ({ x, weight, bias }) => conv3d(x, weight, { bias, stride }),
  });
}

const middle: Sizes = { cin: 512, cout: 512, grid: [5, 32, 32] };

export const cases: readonly BenchCase[] = [
  conv(middle, "f32"),
  conv(middle, "bf16"),
  conv({ cin: 256, cout: 256, grid: [5, 64, 64] }, "f32"),
  conv({ cin: 128, cout: 128, grid: [5, 128, 128] }, "f32"),
  // The edges of the autoencoder: pixels in, latents in, pixels out.
  conv({ cin: 3, cout: 128, grid: [5, 128, 128] }, "f32"),
  conv({ cin: 16, cout: 512, grid: [5, 32, 32] }, "f32"),
  conv({ cin: 128, cout: 3, grid: [5, 128, 128] }, "f32"),
  conv({ cin: 128, cout: 128, grid: [5, 128, 128], stride: [1, 2, 2] }, "f32"),
  conv({ cin: 512, cout: 256, grid: [5, 64, 64], kernel: 1 }, "f32"),
  convGradients(middle, "f32"),
  convGradients({ cin: 128, cout: 128, grid: [5, 64, 64] }, "f32"),
];
