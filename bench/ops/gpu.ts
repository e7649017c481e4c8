/**
 * Sizes for a GPU: attention over 16,384 tokens, the first linear of an MLP over all tokens of a 720p clip and the square
 * that everybody knows, the decoder's convolutions on a tile of 17 frames, and what each block does to all tokens.
 */
import type { BenchCase } from "../case.js";
import { full } from "./attention.js";
import { conv, convGradients, type Sizes } from "./conv3d.js";
import { plain } from "./gemm.js";
import { onTokens } from "./norm.js";

const tokens = 118_800;

const decoder: readonly Sizes[] = [
  { cin: 512, cout: 512, grid: [9, 64, 64] },
  { cin: 256, cout: 256, grid: [17, 128, 128] },
  { cin: 128, cout: 128, grid: [17, 256, 256] },
];

const all: readonly BenchCase[] = [
  ...full(16_384, 24, "bf16"),
  plain(tokens, 3072, 12_288, "bf16", "bf16"),
  plain(8192, 8192, 8192, "bf16", "bf16"),
  ...decoder.map((sizes) => conv(sizes, "bf16")),
  ...decoder.map((sizes) => convGradients(sizes, "bf16")),
  ...onTokens("bf16", tokens),
];

export const cases: readonly BenchCase[] = all.map((one) => ({ ...one, only: ["cuda"] }));
