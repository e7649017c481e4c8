// Written by `npm run gen`; do not edit.
#pragma once

#include "core/op_call.h"

namespace hn {

/// y = residual + gate · act(x Wᵀ + bias), W [N, K] times weightScale; residual, gate, bias and scale may be missing
struct LinearArgs {
  enum class Activation : int32_t { none, gelu, gelu_erf, silu };
  TensorView x;
  TensorView weight;
  TensorView bias;
  TensorView weight_scale;
  TensorView residual;
  TensorView gate;
  TensorView y;
  Activation activation;
};

/// dx = (dy · weightScale) W
struct LinearBackwardInputArgs {
  enum class Dtype : int32_t { f32, f64, f16, bf16 };
  TensorView dy;
  TensorView weight;
  TensorView weight_scale;
  TensorView dx;
  Dtype dtype;
};

/// dW = (dy · weightScale)ᵀ x, summed over all rows in f32
struct LinearBackwardWeightArgs {
  TensorView dy;
  TensorView x;
  TensorView weight_scale;
  TensorView dweight;
};

/// c = a b for each matrix of a batch, each of a and b as stored or transposed; batch axes broadcast
struct MatmulArgs {
  enum class Dtype : int32_t { f32, f64, f16, bf16 };
  TensorView a;
  TensorView b;
  TensorView c;
  bool transpose_a;
  bool transpose_b;
  Dtype dtype;
};

inline LinearArgs decode_linear(const OpCall& call) {
  CallReader in(call);
  LinearArgs a{};
  a.x = in.tensor();
  a.weight = in.tensor();
  a.bias = in.tensor();
  a.weight_scale = in.tensor();
  a.residual = in.tensor();
  a.gate = in.tensor();
  a.y = in.tensor();
  a.activation = static_cast<LinearArgs::Activation>(in.integer());
  return a;
}

inline LinearBackwardInputArgs decode_linear_backward_input(const OpCall& call) {
  CallReader in(call);
  LinearBackwardInputArgs a{};
  a.dy = in.tensor();
  a.weight = in.tensor();
  a.weight_scale = in.tensor();
  a.dx = in.tensor();
  a.dtype = static_cast<LinearBackwardInputArgs::Dtype>(in.integer());
  return a;
}

inline LinearBackwardWeightArgs decode_linear_backward_weight(const OpCall& call) {
  CallReader in(call);
  LinearBackwardWeightArgs a{};
  a.dy = in.tensor();
  a.x = in.tensor();
  a.weight_scale = in.tensor();
  a.dweight = in.tensor();
  return a;
}

inline MatmulArgs decode_matmul(const OpCall& call) {
  CallReader in(call);
  MatmulArgs a{};
  a.a = in.tensor();
  a.b = in.tensor();
  a.c = in.tensor();
  a.transpose_a = in.integer() != 0;
  a.transpose_b = in.integer() != 0;
  a.dtype = static_cast<MatmulArgs::Dtype>(in.integer());
  return a;
}

}  // namespace hn
