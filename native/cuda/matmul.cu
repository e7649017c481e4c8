// Batched matrix product C[..., M, N] = A[..., M, K] B[..., K, N], A, B or both stored transposed, as products of
// gemm.h. The batch axes of a and b are those of c, with strides of 0 where they repeat; all strides are free.
//
// Types: both bf16 or f16: tensor cores, otherwise f32 products; c of any float type.
// Bytes: size(a) + size(b) + size(c); FLOPs: 2 M N K a matrix. Bound by tensor cores, or by memory where two of M, N
// and K are small.
#include "cuda/gemm.h"
#include "cuda/support.h"

namespace hn::cuda {
namespace {

/// All matrices of the batch are the same.
bool repeats(const TensorView& t) {
  for (int i = 0; i + 2 < t.rank; ++i) {
    if (t.shape[i] != 1 && t.strides[i] != 0) return false;
  }
  return true;
}

}  // namespace

HN_SUPPORTS(matmul, kFloats);

Status matmul(const Context& ctx, const MatmulArgs& a) {
  Gemm g;
  g.m = a.c.dim(-2);
  g.n = a.c.dim(-1);
  g.k = a.transpose_a ? a.a.dim(-2) : a.a.dim(-1);
  for (int i = 0; i + 2 < a.c.rank; ++i) g.batch *= a.c.shape[i];
  g.a = batched_matrix(a.a);
  g.b = batched_matrix(a.b);
  g.a_major = a.transpose_a ? Major::mn : Major::k;
  g.b_major = a.transpose_b ? Major::k : Major::mn;

  EpilogueArgs& e = g.epilogue;
  const Matrix c = batched_matrix(a.c);
  e.out = AnyOut(a.c);
  e.out_rows = c.rows;
  e.out_batch = c.batch;
  e.out_step = c.step;
  e.packed = packs_of_eight(a.c);
  // One B for all matrices: their rows make one tall matrix, and B is read once.
  if (g.batch > 1 && !a.transpose_a && repeats(a.b)) {
    g.m *= g.batch;
    g.batch = 1;
    g.a = rows_matrix(a.a);
    g.b.batch = e.out_batch = RowMap();
    e.out_rows = RowMap(a.c);
  }
  return gemm(ctx, g);
}

}  // namespace hn::cuda
