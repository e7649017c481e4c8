// Written by `npm run gen`; do not edit.
#pragma once

#include "core/op_call.h"

namespace hn {

/// y = mean of lse − logits[label] over the rows whose label is not ignoreIndex; lse = log Σ exp of each row
struct CrossEntropyArgs {
  TensorView logits;
  TensorView labels;
  TensorView y;
  TensorView lse;
  int64_t ignore_index;
};

/// dlogits = (exp(logits − lse) − [column = label]) · dy / rows counted; 0 in rows left out
struct CrossEntropyBackwardArgs {
  TensorView dy;
  TensorView logits;
  TensorView labels;
  TensorView lse;
  TensorView dlogits;
  int64_t ignore_index;
};

/// y = mean of (a − b)² or of |a − b|
struct DistanceArgs {
  enum class Fn : int32_t { mse, l1 };
  TensorView a;
  TensorView b;
  TensorView y;
  Fn fn;
};

/// gradient of distance for a (b's is its negative); dy, one number, is walked as if it had a's shape
struct DistanceBackwardArgs {
  enum class Fn : int32_t { mse, l1 };
  TensorView dy;
  TensorView a;
  TensorView b;
  TensorView da;
  Fn fn;
};

/// y = exp(x − m) / Σ exp(x − m) over the last axis, m the maximum; with `log` the logarithm of that
struct SoftmaxArgs {
  TensorView x;
  TensorView y;
  bool log;
};

/// gradient of softmax for x, from its result
struct SoftmaxBackwardArgs {
  TensorView dy;
  TensorView y;
  TensorView dx;
  bool log;
};

inline CrossEntropyArgs decode_cross_entropy(const OpCall& call) {
  CallReader in(call);
  CrossEntropyArgs a{};
  a.logits = in.tensor();
  a.labels = in.tensor();
  a.y = in.tensor();
  a.lse = in.tensor();
  a.ignore_index = in.integer();
  return a;
}

inline CrossEntropyBackwardArgs decode_cross_entropy_backward(const OpCall& call) {
  CallReader in(call);
  CrossEntropyBackwardArgs a{};
  a.dy = in.tensor();
  a.logits = in.tensor();
  a.labels = in.tensor();
  a.lse = in.tensor();
  a.dlogits = in.tensor();
  a.ignore_index = in.integer();
  return a;
}

inline DistanceArgs decode_distance(const OpCall& call) {
  CallReader in(call);
  DistanceArgs a{};
  a.a = in.tensor();
  a.b = in.tensor();
  a.y = in.tensor();
  a.fn = static_cast<DistanceArgs::Fn>(in.integer());
  return a;
}

inline DistanceBackwardArgs decode_distance_backward(const OpCall& call) {
  CallReader in(call);
  DistanceBackwardArgs a{};
  a.dy = in.tensor();
  a.a = in.tensor();
  a.b = in.tensor();
  a.da = in.tensor();
  a.fn = static_cast<DistanceBackwardArgs::Fn>(in.integer());
  return a;
}

inline SoftmaxArgs decode_softmax(const OpCall& call) {
  CallReader in(call);
  SoftmaxArgs a{};
  a.x = in.tensor();
  a.y = in.tensor();
  a.log = in.integer() != 0;
  return a;
}

inline SoftmaxBackwardArgs decode_softmax_backward(const OpCall& call) {
  CallReader in(call);
  SoftmaxBackwardArgs a{};
  a.dy = in.tensor();
  a.y = in.tensor();
  a.dx = in.tensor();
  a.log = in.integer() != 0;
  return a;
}

}  // namespace hn
