// Batched matrix product C[..., M, N] = A[..., M, K] B[..., K, N] on the GEMM of gemm.h; A, B or both may be stored
// transposed. The batch axes of a and b are those of c, with strides of 0 where they repeat.
// FLOPs 2 M N K for each matrix; bound: FMA rate for M above about 16, below that the reading of B.
#include "core/generated/linear.h"
#include "cpu/context.h"
#include "cpu/kernels/dispatch.h"
#include "cpu/kernels/gemm.h"

namespace hn::cpu::HN_ISA {
namespace {

Matrix matrices_of(const TensorView& t) {
  Matrix m;
  m.data = t.data;
  m.dtype = t.dtype;
  m.row_stride = t.stride(-2);
  m.col_stride = t.stride(-1);
  m.batch.rank = t.rank - 2;
  for (int i = 0; i < m.batch.rank; ++i) {
    m.batch.shape[i] = t.shape[i];
    m.batch.strides[i] = t.strides[i];
  }
  return m;
}

/// Whether the rows of all matrices follow one another at one distance.
bool one_pitch(const TensorView& t) {
  int64_t expected = t.stride(-2) * t.dim(-2);
  for (int i = t.rank - 3; i >= 0; --i) {
    if (t.shape[i] != 1 && t.strides[i] != expected) return false;
    expected *= t.shape[i];
  }
  return true;
}

bool repeats(const TensorView& t) {
  for (int i = 0; i + 2 < t.rank; ++i)
    if (t.shape[i] != 1 && t.strides[i] != 0) return false;
  return true;
}

template <class Acc>
Status product(const Context& ctx, const MatmulArgs& a) {
  GemmShape shape;
  for (int i = 0; i + 2 < a.c.rank; ++i) shape.batch *= a.c.shape[i];
  shape.m = a.c.dim(-2);
  shape.n = a.c.dim(-1);
  shape.k = a.transpose_a ? a.a.dim(-2) : a.a.dim(-1);
  Matrix left = matrices_of(a.a), right = matrices_of(a.b), out = matrices_of(a.c);
  // One B for all matrices: their rows make one tall matrix, and B is read once.
  if (shape.batch > 1 && !a.transpose_a && repeats(a.b) && one_pitch(a.a) && one_pitch(a.c)) {
    shape.m *= shape.batch;
    shape.batch = 1;
    left.batch = right.batch = out.batch = {};
  }
  const RowMajorSink<Acc> sink(out);
  const auto with_b = [&](const ASource<Acc>& source) {
    return a.transpose_b ? gemm<Acc>(ctx, shape, source, TransposedB<Acc>(right), sink)
                         : gemm<Acc>(ctx, shape, source, RowMajorB<Acc>(right), sink);
  };
  return a.transpose_a ? with_b(TransposedA<Acc>(left)) : with_b(RowMajorA<Acc>(left));
}

}  // namespace

Status matmul(const Context& ctx, const MatmulArgs& a) {
  return with_float_acc(a.a.dtype, [&](auto acc) { return product<decltype(acc)>(ctx, a); });
}

}  // namespace hn::cpu::HN_ISA
