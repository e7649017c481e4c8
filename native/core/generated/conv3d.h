// Written by `npm run gen`; do not edit.
#pragma once

#include "core/op_call.h"

namespace hn {

/// convolution over [B, T, H, W, C] or [B, H, W, C], weight [Cout, kt, kh, kw, Cin], padding by index
struct Conv3dArgs {
  enum class PadMode : int32_t { replicate, zero };
  TensorView x;
  TensorView weight;
  TensorView bias;
  TensorView y;
  IntList stride;
  IntList before;
  IntList after;
  PadMode pad_mode;
};

/// gradient of conv3d for x of T, H, W = size; what the replicated rim received is folded into the edge
struct Conv3dBackwardInputArgs {
  enum class PadMode : int32_t { replicate, zero };
  TensorView dy;
  TensorView weight;
  TensorView dx;
  IntList stride;
  IntList before;
  IntList after;
  PadMode pad_mode;
  IntList size;
};

/// gradient of conv3d for its weight: a sum over voxels in a fixed order, f32 (f64 for f64)
struct Conv3dBackwardWeightArgs {
  enum class PadMode : int32_t { replicate, zero };
  TensorView dy;
  TensorView x;
  TensorView dweight;
  IntList stride;
  IntList before;
  IntList after;
  PadMode pad_mode;
  IntList kernel;
};

inline Conv3dArgs decode_conv3d(const OpCall& call) {
  CallReader in(call);
  Conv3dArgs a{};
  a.x = in.tensor();
  a.weight = in.tensor();
  a.bias = in.tensor();
  a.y = in.tensor();
  a.stride = in.integers();
  a.before = in.integers();
  a.after = in.integers();
  a.pad_mode = static_cast<Conv3dArgs::PadMode>(in.integer());
  return a;
}

inline Conv3dBackwardInputArgs decode_conv3d_backward_input(const OpCall& call) {
  CallReader in(call);
  Conv3dBackwardInputArgs a{};
  a.dy = in.tensor();
  a.weight = in.tensor();
  a.dx = in.tensor();
  a.stride = in.integers();
  a.before = in.integers();
  a.after = in.integers();
  a.pad_mode = static_cast<Conv3dBackwardInputArgs::PadMode>(in.integer());
  a.size = in.integers();
  return a;
}

inline Conv3dBackwardWeightArgs decode_conv3d_backward_weight(const OpCall& call) {
  CallReader in(call);
  Conv3dBackwardWeightArgs a{};
  a.dy = in.tensor();
  a.x = in.tensor();
  a.dweight = in.tensor();
  a.stride = in.integers();
  a.before = in.integers();
  a.after = in.integers();
  a.pad_mode = static_cast<Conv3dBackwardWeightArgs::PadMode>(in.integer());
  a.kernel = in.integers();
  return a;
}

}  // namespace hn
