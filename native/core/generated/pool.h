// Written by `npm run gen`; do not edit.
#pragma once

#include "core/op_call.h"

namespace hn {

/// mean of each window, over all its places or only those outside the padding
struct AvgPool3dArgs {
  TensorView x;
  TensorView y;
  IntList kernel;
  IntList stride;
  IntList padding;
  bool count_padding;
};

/// gradient of avg_pool3d for x of T, H, W = size
struct AvgPool3dBackwardArgs {
  TensorView dy;
  TensorView dx;
  IntList kernel;
  IntList stride;
  IntList padding;
  bool count_padding;
  IntList size;
};

/// largest value of each window; padding never wins, a NaN does
struct MaxPool3dArgs {
  TensorView x;
  TensorView y;
  IntList kernel;
  IntList stride;
  IntList padding;
};

/// gradient of max_pool3d: dy goes to the first maximum of each window
struct MaxPool3dBackwardArgs {
  TensorView dy;
  TensorView x;
  TensorView dx;
  IntList kernel;
  IntList stride;
  IntList padding;
};

inline AvgPool3dArgs decode_avg_pool3d(const OpCall& call) {
  CallReader in(call);
  AvgPool3dArgs a{};
  a.x = in.tensor();
  a.y = in.tensor();
  a.kernel = in.integers();
  a.stride = in.integers();
  a.padding = in.integers();
  a.count_padding = in.integer() != 0;
  return a;
}

inline AvgPool3dBackwardArgs decode_avg_pool3d_backward(const OpCall& call) {
  CallReader in(call);
  AvgPool3dBackwardArgs a{};
  a.dy = in.tensor();
  a.dx = in.tensor();
  a.kernel = in.integers();
  a.stride = in.integers();
  a.padding = in.integers();
  a.count_padding = in.integer() != 0;
  a.size = in.integers();
  return a;
}

inline MaxPool3dArgs decode_max_pool3d(const OpCall& call) {
  CallReader in(call);
  MaxPool3dArgs a{};
  a.x = in.tensor();
  a.y = in.tensor();
  a.kernel = in.integers();
  a.stride = in.integers();
  a.padding = in.integers();
  return a;
}

inline MaxPool3dBackwardArgs decode_max_pool3d_backward(const OpCall& call) {
  CallReader in(call);
  MaxPool3dBackwardArgs a{};
  a.dy = in.tensor();
  a.x = in.tensor();
  a.dx = in.tensor();
  a.kernel = in.integers();
  a.stride = in.integers();
  a.padding = in.integers();
  return a;
}

}  // namespace hn
