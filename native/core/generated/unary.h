// Written by `npm run gen`; do not edit.
#pragma once

#include "core/op_call.h"

namespace hn {

/// y = fn(x), element by element; `slope` is leakyRelu's, `low` and `high` are clamp's
struct UnaryArgs {
  enum class Fn : int32_t { neg, sqrt, rsqrt, exp, tanh, sigmoid, relu, abs, square, log, sin, cos, silu, gelu, gelu_tanh, quick_gelu, leaky_relu, clamp };
  TensorView x;
  TensorView y;
  Fn fn;
  double slope;
  double low;
  double high;
};

/// gradient of unary for x; v is the function's result for sqrt, rsqrt, exp, tanh, sigmoid and relu, else x
struct UnaryBackwardArgs {
  enum class Fn : int32_t { sqrt, rsqrt, exp, tanh, sigmoid, relu, abs, square, log, sin, cos, silu, gelu, gelu_tanh, quick_gelu, leaky_relu, clamp };
  TensorView dy;
  TensorView v;
  TensorView dx;
  Fn fn;
  double slope;
  double low;
  double high;
};

inline UnaryArgs decode_unary(const OpCall& call) {
  CallReader in(call);
  UnaryArgs a{};
  a.x = in.tensor();
  a.y = in.tensor();
  a.fn = static_cast<UnaryArgs::Fn>(in.integer());
  a.slope = in.number();
  a.low = in.number();
  a.high = in.number();
  return a;
}

inline UnaryBackwardArgs decode_unary_backward(const OpCall& call) {
  CallReader in(call);
  UnaryBackwardArgs a{};
  a.dy = in.tensor();
  a.v = in.tensor();
  a.dx = in.tensor();
  a.fn = static_cast<UnaryBackwardArgs::Fn>(in.integer());
  a.slope = in.number();
  a.low = in.number();
  a.high = in.number();
  return a;
}

}  // namespace hn
