// Written by `npm run gen`; do not edit.
#pragma once

#include "core/op_call.h"

namespace hn {

/// slices of x along an axis, picked by index
struct GatherArgs {
  TensorView x;
  TensorView ids;
  TensorView y;
  int64_t axis;
};

/// gradient of gather: slices of dy added where they were picked from, in the order of ids
struct GatherBackwardArgs {
  TensorView dy;
  TensorView ids;
  TensorView dx;
  int64_t axis;
  IntList shape;
};

/// x with a rim on every axis: zeros, or the edge repeated
struct PadArgs {
  enum class Mode : int32_t { zero, replicate };
  TensorView x;
  TensorView y;
  Mode mode;
  IntList before;
  IntList after;
};

/// gradient of pad with repeated edges: each edge gathers the sum of its rim, in a fixed order
struct PadBackwardArgs {
  TensorView dy;
  TensorView dx;
  IntList shape;
  IntList before;
  IntList after;
};

inline GatherArgs decode_gather(const OpCall& call) {
  CallReader in(call);
  GatherArgs a{};
  a.x = in.tensor();
  a.ids = in.tensor();
  a.y = in.tensor();
  a.axis = in.integer();
  return a;
}

inline GatherBackwardArgs decode_gather_backward(const OpCall& call) {
  CallReader in(call);
  GatherBackwardArgs a{};
  a.dy = in.tensor();
  a.ids = in.tensor();
  a.dx = in.tensor();
  a.axis = in.integer();
  a.shape = in.integers();
  return a;
}

inline PadArgs decode_pad(const OpCall& call) {
  CallReader in(call);
  PadArgs a{};
  a.x = in.tensor();
  a.y = in.tensor();
  a.mode = static_cast<PadArgs::Mode>(in.integer());
  a.before = in.integers();
  a.after = in.integers();
  return a;
}

inline PadBackwardArgs decode_pad_backward(const OpCall& call) {
  CallReader in(call);
  PadBackwardArgs a{};
  a.dy = in.tensor();
  a.dx = in.tensor();
  a.shape = in.integers();
  a.before = in.integers();
  a.after = in.integers();
  return a;
}

}  // namespace hn
