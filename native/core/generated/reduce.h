// Written by `npm run gen`; do not edit.
#pragma once

#include "core/op_call.h"

namespace hn {

/// index along `axes` (flat when several) of the first maximum; the first NaN counts as the maximum
struct ArgmaxArgs {
  TensorView x;
  TensorView y;
  IntList axes;
  IntList shape;
};

/// y = fn of x over `axes`; `shape` is the result's, which keeps or drops them
struct ReduceArgs {
  enum class Fn : int32_t { sum, mean, max, min, norm };
  TensorView x;
  TensorView y;
  Fn fn;
  IntList axes;
  IntList shape;
};

/// gradient of reduce for x; dy and y are walked as if they had x's shape. Equal extremes share dy equally
struct ReduceBackwardArgs {
  enum class Fn : int32_t { sum, mean, max, min, norm };
  TensorView dy;
  TensorView x;
  TensorView y;
  TensorView dx;
  Fn fn;
  IntList axes;
  IntList shape;
};

/// y = Σ (x − mean)² / max(0, n − correction) over `axes`, and the mean
struct VarianceArgs {
  TensorView x;
  TensorView y;
  TensorView mean;
  double correction;
  IntList axes;
  IntList shape;
};

/// dx = dy · scale · (x − mean); dy and mean are walked as if they had x's shape
struct VarianceBackwardArgs {
  TensorView dy;
  TensorView x;
  TensorView mean;
  TensorView dx;
  double scale;
};

inline ArgmaxArgs decode_argmax(const OpCall& call) {
  CallReader in(call);
  ArgmaxArgs a{};
  a.x = in.tensor();
  a.y = in.tensor();
  a.axes = in.integers();
  a.shape = in.integers();
  return a;
}

inline ReduceArgs decode_reduce(const OpCall& call) {
  CallReader in(call);
  ReduceArgs a{};
  a.x = in.tensor();
  a.y = in.tensor();
  a.fn = static_cast<ReduceArgs::Fn>(in.integer());
  a.axes = in.integers();
  a.shape = in.integers();
  return a;
}

inline ReduceBackwardArgs decode_reduce_backward(const OpCall& call) {
  CallReader in(call);
  ReduceBackwardArgs a{};
  a.dy = in.tensor();
  a.x = in.tensor();
  a.y = in.tensor();
  a.dx = in.tensor();
  a.fn = static_cast<ReduceBackwardArgs::Fn>(in.integer());
  a.axes = in.integers();
  a.shape = in.integers();
  return a;
}

inline VarianceArgs decode_variance(const OpCall& call) {
  CallReader in(call);
  VarianceArgs a{};
  a.x = in.tensor();
  a.y = in.tensor();
  a.mean = in.tensor();
  a.correction = in.number();
  a.axes = in.integers();
  a.shape = in.integers();
  return a;
}

inline VarianceBackwardArgs decode_variance_backward(const OpCall& call) {
  CallReader in(call);
  VarianceBackwardArgs a{};
  a.dy = in.tensor();
  a.x = in.tensor();
  a.mean = in.tensor();
  a.dx = in.tensor();
  a.scale = in.number();
  return a;
}

}  // namespace hn
