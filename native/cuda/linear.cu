// The linear layer and its gradients, as products of gemm.h:
//   y = residual + gate · act(s · x Wᵀ + b)   x [..., K], W [N, K], b [N], residual and y [..., N]
//   dx = (dy · s) W      dW = (dy · s)ᵀ x, in f32
// s is the scale of a weight in f8e4m3, for all of it or for each of its N rows, else 1; gate has a row for each group
// of consecutive rows of y. x, dy, W, residual and gate may have any strides.
//
// Types: x and W both bf16 or f16: tensor cores; W in f8e4m3 beside them: widened on the way; anything else in f32
// products. Bytes and FLOPs: those of the product; bias, activation, gate and residual ride on its sums before they are
// rounded. Bound by tensor cores for M = B · S beyond some 300, below by the reading of W.
#include "cuda/gemm.h"
#include "cuda/support.h"

namespace hn::cuda {
namespace {

static_assert(static_cast<int>(LinearArgs::Activation::gelu) == static_cast<int>(Activation::gelu) &&
              static_cast<int>(LinearArgs::Activation::gelu_erf) == static_cast<int>(Activation::gelu_erf) &&
              static_cast<int>(LinearArgs::Activation::silu) == static_cast<int>(Activation::silu));

int64_t step_of(const TensorView& t) { return t.dim(-1) == 1 ? 1 : t.stride(-1); }

void write_rows(EpilogueArgs& e, const TensorView& t) {
  e.out = AnyOut(t);
  e.out_rows = RowMap(t);
  e.out_step = step_of(t);
  e.packed = packs_of_eight(t);
}

}  // namespace

HN_SUPPORTS(linear, kFloats);
HN_SUPPORTS(linear_backward_input, kFloats);
HN_SUPPORTS(linear_backward_weight, kFloats);

Status linear(const Context& ctx, const LinearArgs& a) {
  Gemm g;
  g.m = a.x.rows();
  g.n = a.weight.dim(0);
  g.k = a.weight.dim(1);
  g.a = rows_matrix(a.x);
  g.b = rows_matrix(a.weight);

  EpilogueArgs& e = g.epilogue;
  write_rows(e, a.y);
  e.activation = static_cast<Activation>(a.activation);
  if (a.weight_scale) {
    e.scale = AnyPtr(a.weight_scale);
    e.scale_n = a.weight_scale.elements() == 1 ? 0 : 1;
  }
  if (a.bias) {
    e.bias = AnyPtr(a.bias);
    e.bias_step = step_of(a.bias);
  }
  if (a.gate) {
    e.gate = AnyPtr(a.gate);
    e.gate_rows = RowMap(a.gate);
    e.gate_step = step_of(a.gate);
    e.rows_per_gate = Divider(a.gate.rows() > 0 ? g.m / a.gate.rows() : 1);
    e.packed = e.packed && packs_of_eight(a.gate);
  }
  if (a.residual) {
    e.residual = AnyPtr(a.residual);
    e.residual_rows = RowMap(a.residual);
    e.residual_step = step_of(a.residual);
    e.packed = e.packed && packs_of_eight(a.residual);
  }
  return gemm(ctx, g);
}

Status linear_backward_input(const Context& ctx, const LinearBackwardInputArgs& a) {
  Gemm g;
  g.m = a.dy.rows();
  g.n = a.weight.dim(1);
  g.k = a.weight.dim(0);
  g.a = rows_matrix(a.dy);
  g.b = rows_matrix(a.weight);
  g.b_major = Major::mn;
  write_rows(g.epilogue, a.dx);
  if (a.weight_scale) {
    // One factor for all multiplies finished sums; one for each row of W varies along the sum.
    if (a.weight_scale.elements() == 1) {
      g.epilogue.scale = AnyPtr(a.weight_scale);
    } else {
      g.k_factors = AnyPtr(a.weight_scale);
    }
  }
  return gemm(ctx, g);
}

Status linear_backward_weight(const Context& ctx, const LinearBackwardWeightArgs& a) {
  Gemm g;
  g.m = a.dy.dim(-1);
  g.n = a.x.dim(-1);
  g.k = a.x.rows();
  g.a = rows_matrix(a.dy);
  g.b = rows_matrix(a.x);
  g.a_major = g.b_major = Major::mn;
  write_rows(g.epilogue, a.dweight);
  if (a.weight_scale) {
    g.epilogue.scale = AnyPtr(a.weight_scale);
    g.epilogue.scale_m = a.weight_scale.elements() == 1 ? 0 : 1;
  }
  return gemm(ctx, g);
}

}  // namespace hn::cuda
