/**
 * Muon: momentum whose singular values are all made about one, for weights that are matrices.
 *
 * Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024): Newton–Schulz iteration, its
 * coefficients, Nesterov momentum; Liu et al., "Muon is scalable for LLM training" (arXiv 2502.16982): decoupled weight decay
 * and the factor 0.2 · √(largest dimension), with which an element moves about as far as under AdamW, so that both take one
 * learning rate. HunyuanVideo-1.5 trains with it.
 *
 * A matrix [O, I] of any tensor [O, …]; several matrices one below the other in one weight (fused q, k, v) are taken apart.
 */
import { concat } from "../ops/concat.js";
import { copyInto } from "../ops/copy.js";
import { matmul } from "../ops/linear.js";
import { emaStep } from "../ops/optim.js";
import { add, div, mul } from "../ops/pointwise.js";
import { norm } from "../ops/reduce.js";
import { reshape, slice, transpose } from "../ops/views.js";
import { HunyuanError } from "../runtime/errors.js";
import { scope } from "../tensor/scope.js";
import { showShape, sizeOf } from "../tensor/shape.js";
import { withoutRecording } from "../tensor/tape.js";
import type { Tensor } from "../tensor/tensor.js";

/** a·X + b·(X Xᵀ)X + c·(X Xᵀ)²X: five of these bring singular values in (0, 1] into about 0.7 … 1.2. */
const coefficients = [3.4445, -4.775, 2.0315] as const;
const iterations = 5;

/** Elements that are orthogonalised as one stack: batches keep the threads busy, and a bound keeps the memory small. */
const stackElements = 2 ** 24;

type Wide = "f32" | "f64";

/**
 * The nearest matrix with singular values of about one (0.7 … 1.2), for each matrix of a stack.
 *
 * @param stack [n, R, C]
 * @example orthogonalised(reshape(momentum, [1, 512, 128]))
 */
export function orthogonalised<D extends Wide>(stack: Tensor<D>): Tensor<D> {
  const [, rows = 0, columns = 0] = stack.shape;
  // The product X Xᵀ is taken over the longer side.
  const tall = rows > columns;
  const [a, b, c] = coefficients;
  return withoutRecording(() =>
    scope(() => {
      const lying = tall ? transpose(stack) : stack;
      // The sum of squares bounds the largest singular value. A matrix of zeros stays one.
      let x = div(lying, add(norm(lying, { axes: [1, 2], keepDims: true }), 1e-20));
      for (let i = 0; i < iterations; i++) x = scope(() => iterated(x, a, b, c));
      return tall ? transpose(x) : x;
    }),
  );
}

function iterated<D extends Wide>(x: Tensor<D>, a: number, b: number, c: number): Tensor<D> {
  const gram = matmul(x, x, { transposeB: true });
  const polynomial = add(mul(gram, b), mul(matmul(gram, gram), c));
  return add(mul(x, a), matmul(polynomial, x));
}

export interface MuonOptions {
  readonly lr: number;
  /** Default 0.95. */
  readonly momentum?: number | undefined;
  /** Share of the parameter, times lr, that is taken away in each step. Default 0.01. */
  readonly weightDecay?: number | undefined;
  /** Looks ahead by one momentum step. Default true. */
  readonly nesterov?: boolean | undefined;
}

/** One weight for `muonStep`. */
export interface MuonWeight {
  /** [O, …], f32 or f64, dense; overwritten. */
  readonly value: Tensor;
  readonly grad: Tensor;
  /** Of the value's shape and type, zero before the first step; overwritten. */
  readonly momentum: Tensor;
  /** Rows of the matrices that lie one below the other in it. Default: one matrix. */
  readonly rows?: readonly number[] | undefined;
}

/** A matrix in a weight. */
interface Piece {
  readonly weight: MuonWeight;
  readonly start: number;
  readonly rows: number;
  readonly columns: number;
}

/**
 * One step of Muon over many weights: value ← (1 − lr · decay) · value − lr · 0.2 · √max(R, C) · orthogonalised(momentum).
 * The momentum gathers as an average, (1 − μ) of each gradient: only its direction counts. Matrices of one shape are worked
 * on together.
 *
 * @throws SHAPE_MISMATCH for a weight of fewer than two axes, or rows that do not add up to its first
 */
export function muonStep(weights: readonly MuonWeight[], options: MuonOptions): void {
  const { momentum: mu = 0.95 } = options;
  if (weights.length === 0) return;
  const byShape = new Map<string, Piece[]>();
  for (const piece of weights.flatMap(piecesOf)) {
    const key = `${piece.rows}×${piece.columns} ${piece.weight.value.dtype}`;
    const same = byShape.get(key);
    if (same === undefined) byShape.set(key, [piece]);
    else same.push(piece);
  }
  withoutRecording(() => {
    emaStep(
      weights.map(({ momentum }) => momentum),
      weights.map(({ grad }) => grad),
      mu,
    );
    for (const pieces of byShape.values()) {
      const { rows, columns } = pieces[0] as Piece;
      const most = Math.max(1, Math.floor(stackElements / (rows * columns)));
      for (let i = 0; i < pieces.length; i += most) stepTogether(pieces.slice(i, i + most), options);
    }
  });
}

function piecesOf(weight: MuonWeight): Piece[] {
  const { value, rows } = weight;
  const [all = 0, ...rest] = value.shape;
  const columns = sizeOf(rest);
  const list = rows ?? [all];
  if (rest.length === 0 || list.reduce((sum, n) => sum + n, 0) !== all) {
    const message = `muonStep: a weight is ${showShape(value.shape)} in pieces of ${list.join(", ")} rows; Muon moves matrices, give others to AdamW`;
    throw new HunyuanError("SHAPE_MISMATCH", message, { op: "muonStep", argument: "weights", shapes: [value.shape] });
  }
  let start = 0;
  return list.map((count) => {
    const piece = { weight, start, rows: count, columns };
    start += count;
    return piece;
  });
}

/** Pieces of one shape. */
function stepTogether(pieces: readonly Piece[], options: MuonOptions): void {
  const { lr, momentum: mu = 0.95, weightDecay = 0.01, nesterov = true } = options;
  const { rows, columns } = pieces[0] as Piece;
  scope(() => {
    const directions = pieces.map((piece) => {
      const gathered = rowsOf(piece.weight.momentum, piece);
      if (!nesterov) return gathered;
      return add(mul(gathered, mu), mul(rowsOf(piece.weight.grad, piece), 1 - mu));
    });
    const turned = orthogonalised(concat(directions, 0));
    const step = mul(turned, -lr * 0.2 * Math.sqrt(Math.max(rows, columns)));
    pieces.forEach((piece, i) => {
      const value = rowsOf(piece.weight.value, piece);
      copyInto(add(mul(value, 1 - lr * weightDecay), slice(step, 0, i, i + 1)), value);
    });
  });
}

/** The piece's rows as [1, R, C], a view. */
function rowsOf(x: Tensor, { start, rows, columns }: Piece): Tensor<Wide> {
  const all = x.shape[0] ?? 0;
  const flat = reshape(x, [1, all, columns]);
  return slice(flat, 1, start, start + rows) as Tensor<Wide>;
}
