import { matmul } from "../../lib/ops/linear.js";
import { type AnyTensor, fill, type Host, type OpCase, opCase } from "./case.js";

/** Where matrix `batch` begins; batch axes of one repeat. */
function matrixStart(t: Host, batch: readonly number[]): number {
  const [rows, columns] = t.shape.slice(-2) as [number, number];
  const axes = t.shape.slice(0, -2);
  const lead = batch.length - axes.length;
  let matrix = 0;
  axes.forEach((size, i) => {
    matrix = matrix * size + (size === 1 ? 0 : (batch[lead + i] as number));
  });
  return matrix * rows * columns;
}

export function matmulReference(a: Host, b: Host, transposeA = false, transposeB = false): Host {
  const [aRows, aColumns] = a.shape.slice(-2) as [number, number];
  const [bRows, bColumns] = b.shape.slice(-2) as [number, number];
  const [m, k] = transposeA ? [aColumns, aRows] : [aRows, aColumns];
  const n = transposeB ? bRows : bColumns;
  const rank = Math.max(a.shape.length, b.shape.length) - 2;
  const axis = (t: Host, i: number) => t.shape.slice(0, -2).at(i - rank) ?? 1;
  const batch = Array.from({ length: rank }, (_, i) => {
    const sizes = [axis(a, i), axis(b, i)];
    return sizes.includes(0) ? 0 : Math.max(...sizes);
  });
  return fill([...batch, m, n], (i) => {
    const [row, column] = [Math.floor(i / n) % m, i % n];
    let rest = Math.floor(i / n / m);
    const place = [...batch].reverse().map((size) => {
      const at = rest % size;
      rest = Math.floor(rest / size);
      return at;
    });
    place.reverse();
    const aStart = matrixStart(a, place) + row * (transposeA ? 1 : aColumns);
    const bStart = matrixStart(b, place) + column * (transposeB ? bColumns : 1);
    const [aStep, bStep] = [transposeA ? aColumns : 1, transposeB ? 1 : bColumns];
    let sum = 0;
    for (let p = 0; p < k; p++) {
      sum += (a.data[aStart + p * aStep] as number) * (b.data[bStart + p * bStep] as number);
    }
    return sum;
  });
}

const swap = (shape: readonly number[], on: boolean) =>
  on ? [...shape.slice(0, -2), shape.at(-1) as number, shape.at(-2) as number] : [...shape];

const products: OpCase[] = [
  { a: [1, 1], b: [1, 1] },
  { a: [3, 5], b: [5, 4] },
  { a: [2, 3, 5], b: [2, 5, 4] },
  { a: [2, 3, 5], b: [5, 4] },
  { a: [3, 5], b: [2, 5, 4] },
  { a: [2, 1, 3, 5], b: [3, 5, 2] },
  { a: [1, 3, 1, 5], b: [2, 1, 5, 2] },
  { a: [0, 3, 5], b: [5, 4] },
  { a: [2, 3, 0], b: [2, 0, 4] },
].flatMap(({ a: aShape, b: bShape }) =>
  [0, 1, 2, 3].map((mode) => {
    const [transposeA, transposeB] = [(mode & 1) !== 0, (mode & 2) !== 0];
    return opCase({
      name: `matmul [${aShape}] × [${bShape}]${transposeA ? ", a transposed" : ""}${transposeB ? ", b transposed" : ""}`,
      inputs: { a: { shape: swap(aShape, transposeA) }, b: { shape: swap(bShape, transposeB) } },
      run: ({ a, b }) => matmul(a, b, { transposeA, transposeB }),
      reference: ({ a, b }) => matmulReference(a, b, transposeA, transposeB),
      gradients: ["a", "b"],
      pitch: ["a", "b"],
      slack: 8,
    });
  }),
);

const larger: OpCase[] = [
  [130, 35, 33],
  [17, 70, 520],
].flatMap(([m = 0, n = 0, k = 0]) =>
  [0, 1, 2, 3].map((mode) => {
    const [transposeA, transposeB] = [(mode & 1) !== 0, (mode & 2) !== 0];
    return opCase({
      name: `matmul of ${m} × ${k} by ${n}, mode ${mode}`,
      inputs: { a: { shape: swap([2, m, k], transposeA) }, b: { shape: swap([k, n], transposeB) } },
      run: ({ a, b }) => matmul(a, b, { transposeA, transposeB }),
      reference: ({ a, b }) => matmulReference(a, b, transposeA, transposeB),
      dtypes: ["f32", "bf16", "f64"],
      slack: 32,
    });
  }),
);

const cudaProducts: OpCase[] = [
  [3, 72, 40, 136],
  [1, 257, 248, 72],
  [1, 248, 264, 37],
].flatMap(([batch = 0, m = 0, n = 0, k = 0]) =>
  [0, 1, 2, 3].map((mode) => {
    const [transposeA, transposeB] = [(mode & 1) !== 0, (mode & 2) !== 0];
    return opCase({
      name: `matmul of ${batch} × ${m} × ${k} by ${n}, mode ${mode}, next to a CUDA tile's edge`,
      inputs: { a: { shape: swap([batch, m, k], transposeA) }, b: { shape: swap([batch, k, n], transposeB) } },
      run: ({ a, b }) => matmul(a, b, { transposeA, transposeB }),
      reference: ({ a, b }) => matmulReference(a, b, transposeA, transposeB),
      dtypes: ["f32", "bf16", "f16"],
      slack: 32,
    });
  }),
);

const widened = opCase({
  name: "matmul of bf16 with an f32 result",
  inputs: { a: { shape: [4, 9], dtype: "bf16" }, b: { shape: [9, 5], dtype: "bf16" } },
  run: ({ a, b }: { a: AnyTensor; b: AnyTensor }) => matmul(a, b, { dtype: "f32" }),
  reference: ({ a, b }) => matmulReference(a, b),
  dtypes: ["f32"],
});

// K is cut where it is long and the result small; the parts' sums are added afterwards.
const cutSum = opCase({
  name: "matmul of transposed a with few results of long sums",
  inputs: { a: { shape: [2, 2100, 16] }, b: { shape: [2, 2100, 24] } },
  run: ({ a, b }) => matmul(a, b, { transposeA: true }),
  reference: ({ a, b }) => matmulReference(a, b, true, false),
  slack: 64,
});

export const cases: OpCase[] = [...products, ...larger, ...cudaProducts, cutSum, widened];
