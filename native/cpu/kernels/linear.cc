// The linear layer y = residual + gate · act(x Wᵀ + b), W [N, K], on the GEMM of gemm.h; each of residual, gate, act
// and b may be missing. The epilogue works on finished sums in the compute type, before they are rounded to y's type.
//   dx = (dy · s) W,  dW = (dy · s)ᵀ x, with s the scale of each row of W (of f8 weights), else 1
// x, dy, residual and y may have any strides of the outer axes; gate has a row for each group of consecutive rows of y.
// FLOPs 2 M N K; bound: FMA rate for M above about 16, below that the reading of W.
#include "core/generated/linear.h"
#include "cpu/context.h"
#include "cpu/kernels/dispatch.h"
#include "cpu/kernels/gemm.h"
#include "cpu/kernels/row_sources.h"
#include "cpu/kernels/rows.h"
#include "cpu/kernels/simd.h"

namespace hn::cpu::HN_ISA {
namespace {

using Activation = LinearArgs::Activation;

template <class Acc>
void activate(Activation kind, Acc* v, int64_t n) {
  switch (kind) {
    case Activation::none:
      return;
    case Activation::gelu:
      // v / 2 · (1 + tanh u) = v · sigmoid(2u), which is exact also where tanh u comes close to −1.
      for (int64_t i = 0; i < n; ++i) {
        const Acc u = Acc(0.7978845608028654) * (v[i] + Acc(0.044715) * (v[i] * v[i] * v[i]));
        v[i] = v[i] * sigmoid1(u + u);
      }
      return;
    case Activation::gelu_erf:
      for (int64_t i = 0; i < n; ++i) v[i] = Acc(0.5) * v[i] * (Acc(1) + erf1(v[i] * Acc(0.7071067811865476)));
      return;
    case Activation::silu:
      for (int64_t i = 0; i < n; ++i) v[i] = v[i] * sigmoid1(v[i]);
      return;
  }
}

template <class Acc>
struct LinearSink final : Sink<Acc> {
  explicit LinearSink(const LinearArgs& args)
      : a(args),
        bias(a.bias),
        residual(a.residual),
        gate(a.gate),
        y(a.y),
        rows_per_gate(a.gate && a.gate.rows() > 0 ? a.y.rows() / a.gate.rows() : 1) {}

  void rows(Acc* tile, int64_t ld, int64_t, int64_t m0, int64_t m_count, int64_t n0, int64_t n_count) const override {
    constexpr int64_t kColumns = 256;  // as much of bias, gate and residual as is widened at once
    Acc bias_part[kColumns], gate_part[kColumns], residual_part[kColumns];
    for (int64_t j = 0; j < n_count; j += kColumns) {
      const int64_t n = n_count - j < kColumns ? n_count - j : kColumns;
      const Acc* b = a.bias ? bias.load_part(0, n0 + j, n, bias_part) : nullptr;
      const Acc* f = nullptr;
      int64_t group = -1;
      for (int64_t i = 0; i < m_count; ++i) {
        const int64_t row = m0 + i;
        Acc* v = tile + i * ld + j;
        if (b != nullptr)
          for (int64_t c = 0; c < n; ++c) v[c] += b[c];
        activate(a.activation, v, n);
        if (a.gate) {
          if (row / rows_per_gate != group) f = gate.load_part(group = row / rows_per_gate, n0 + j, n, gate_part);
          for (int64_t c = 0; c < n; ++c) v[c] *= f[c];
        }
        if (a.residual) {
          const Acc* u = residual.load_part(row, n0 + j, n, residual_part);
          for (int64_t c = 0; c < n; ++c) v[c] += u[c];
        }
        y.store_part(row, n0 + j, n, v);
      }
    }
  }

  const LinearArgs& a;
  const Rows<Acc> bias, residual, gate, y;
  const int64_t rows_per_gate;
};

Matrix matrix_of(const TensorView& t) {
  Matrix m;
  m.data = t.data;
  m.dtype = t.dtype;
  m.row_stride = t.stride(0);
  return m;
}

Scale scale_of(const TensorView& s) { return s ? Scale{s.as<float>(), s.elements()} : Scale{}; }

template <class Acc>
Status forward(const Context& ctx, const LinearArgs& a) {
  const GemmShape shape{1, a.x.rows(), a.weight.dim(0), a.weight.dim(1)};
  const TransposedB<Acc> b(matrix_of(a.weight), scale_of(a.weight_scale));
  return gemm<Acc>(ctx, shape, RowsA<Acc>(a.x), b, LinearSink<Acc>(a));
}

/// Finished sums to the rows of a tensor, without an epilogue.
template <class Acc>
struct RowsSink final : Sink<Acc> {
  explicit RowsSink(const TensorView& t) : out(t) {}
  void rows(Acc* tile, int64_t ld, int64_t, int64_t m0, int64_t m_count, int64_t n0, int64_t n_count) const override {
    for (int64_t i = 0; i < m_count; ++i) out.store_part(m0 + i, n0, n_count, tile + i * ld);
  }
  const Rows<Acc> out;
};

template <class Acc>
Status backward_input(const Context& ctx, const LinearBackwardInputArgs& a) {
  const GemmShape shape{1, a.dy.rows(), a.weight.dim(1), a.weight.dim(0)};
  return gemm<Acc>(ctx, shape, RowsA<Acc>(a.dy, scale_of(a.weight_scale)), RowsB<Acc>(a.weight), RowsSink<Acc>(a.dx));
}

template <class Acc>
Status backward_weight(const Context& ctx, const LinearBackwardWeightArgs& a) {
  const GemmShape shape{1, a.dy.dim(-1), a.x.dim(-1), a.x.rows()};
  const RowsTransposedA<Acc> dy(a.dy, scale_of(a.weight_scale));
  return gemm<Acc>(ctx, shape, dy, RowsB<Acc>(a.x), RowsSink<Acc>(a.dweight));
}

}  // namespace

Status linear(const Context& ctx, const LinearArgs& a) {
  return with_float_acc(a.x.dtype, [&](auto acc) { return forward<decltype(acc)>(ctx, a); });
}

Status linear_backward_input(const Context& ctx, const LinearBackwardInputArgs& a) {
  return with_float_acc(a.dy.dtype, [&](auto acc) { return backward_input<decltype(acc)>(ctx, a); });
}

Status linear_backward_weight(const Context& ctx, const LinearBackwardWeightArgs& a) {
  return with_float_acc(a.dy.dtype, [&](auto acc) { return backward_weight<decltype(acc)>(ctx, a); });
}

}  // namespace hn::cpu::HN_ISA
