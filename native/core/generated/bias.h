// Written by `npm run gen`; do not edit.
#pragma once

#include "core/op_call.h"

namespace hn {

/// gradient of a bias over the last axis: dy summed over all rows in a fixed order, f32 (f64 for f64)
struct BiasBackwardArgs {
  TensorView dy;
  TensorView dbias;
};

inline BiasBackwardArgs decode_bias_backward(const OpCall& call) {
  CallReader in(call);
  BiasBackwardArgs a{};
  a.dy = in.tensor();
  a.dbias = in.tensor();
  return a;
}

}  // namespace hn
