/** Moving elements: copies of permuted and strided tensors, joining, patches. */
import { concat, contiguous, embedding, pad, patchify, permute, slice } from "../../lib/tensor.js";
import { type BenchCase, forward, shapes } from "../case.js";

function moves(dtype: "f32" | "bf16"): readonly BenchCase[] {
  const tokens = dtype === "f32" ? 16_384 : 32_768;
  const x = { shape: [1, tokens, 3072], dtype };
  const heads = { shape: [1, tokens, 24, 128], dtype };
  const video = { shape: [1, 5, dtype === "f32" ? 128 : 256, 256, 256], dtype };
  const copies = { dtype, bound: "copy" as const };
  return [
    forward({
      ...copies,
      op: "contiguous rows",
      shape: `half of the columns of ${shapes(x.shape)}`,
      inputs: { x },
      run(t) {
        const half = slice(t.x, 2, 0, 1536);
        return [half, contiguous(half)];
      },
    }),
    forward({
      ...copies,
      op: "permute heads first",
      shape: shapes(heads.shape),
      inputs: { x: heads },
      run(t) {
        const view = permute(t.x, [0, 2, 1, 3]);
        return [view, contiguous(view)];
      },
    }),
    forward({
      ...copies,
      op: "permute channels first",
      shape: shapes(video.shape),
      inputs: { x: video },
      run: (t) => permute(t.x, [0, 4, 1, 2, 3]),
    }),
    forward({
      ...copies,
      op: "concat",
      shape: `${shapes(x.shape, [1, 256, 3072])}, tokens`,
      inputs: { x, txt: { shape: [1, 256, 3072], dtype } },
      run: (t) => concat([t.x, t.txt], 1),
    }),
    forward({
      ...copies,
      op: "pad replicate",
      shape: shapes(video.shape),
      inputs: { x: video },
      run: (t) =>
        pad(
          t.x,
          [
            [0, 0],
            [2, 0],
            [1, 1],
            [1, 1],
            [0, 0],
          ],
          { mode: "replicate" },
        ),
    }),
    forward({
      ...copies,
      op: "patchify",
      shape: shapes([1, 33, 180, 320, 16]),
      inputs: { x: { shape: [1, 33, 180, 320, 16], dtype } },
      run: (t) => patchify(t.x),
    }),
    forward({
      ...copies,
      op: "embedding",
      shape: shapes([128_320, 1024], [65_536]),
      inputs: { table: { shape: [128_320, 1024], dtype }, ids: { shape: [65_536], dtype: "i32", scale: 128_320 } },
      run: (t) => embedding(t.table, t.ids),
    }),
  ];
}

export const cases: readonly BenchCase[] = [...moves("f32"), ...moves("bf16")];
