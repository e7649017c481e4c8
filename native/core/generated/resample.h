// Written by `npm run gen`; do not edit.
#pragma once

#include "core/op_call.h"

namespace hn {

/// bilinear resizing of [..., H, W, C]; with antialias a triangle filter as wide as the reduction
struct ResizeBilinearArgs {
  TensorView x;
  TensorView y;
  int64_t height;
  int64_t width;
  bool align_corners;
  bool antialias;
};

/// gradient of resize_bilinear for x of the given height and width
struct ResizeBilinearBackwardArgs {
  TensorView dy;
  TensorView dx;
  int64_t height;
  int64_t width;
  bool align_corners;
  bool antialias;
};

/// repeats the voxels of [B, T, H, W, C]; with firstFrame, frame 0 is not repeated in time
struct UpsampleNearestArgs {
  TensorView x;
  TensorView y;
  IntList factors;
  bool first_frame;
};

/// gradient of upsample_nearest for x of T, H, W = size: the sum over the copies of a voxel
struct UpsampleNearestBackwardArgs {
  TensorView dy;
  TensorView dx;
  IntList factors;
  bool first_frame;
  IntList size;
};

inline ResizeBilinearArgs decode_resize_bilinear(const OpCall& call) {
  CallReader in(call);
  ResizeBilinearArgs a{};
  a.x = in.tensor();
  a.y = in.tensor();
  a.height = in.integer();
  a.width = in.integer();
  a.align_corners = in.integer() != 0;
  a.antialias = in.integer() != 0;
  return a;
}

inline ResizeBilinearBackwardArgs decode_resize_bilinear_backward(const OpCall& call) {
  CallReader in(call);
  ResizeBilinearBackwardArgs a{};
  a.dy = in.tensor();
  a.dx = in.tensor();
  a.height = in.integer();
  a.width = in.integer();
  a.align_corners = in.integer() != 0;
  a.antialias = in.integer() != 0;
  return a;
}

inline UpsampleNearestArgs decode_upsample_nearest(const OpCall& call) {
  CallReader in(call);
  UpsampleNearestArgs a{};
  a.x = in.tensor();
  a.y = in.tensor();
  a.factors = in.integers();
  a.first_frame = in.integer() != 0;
  return a;
}

inline UpsampleNearestBackwardArgs decode_upsample_nearest_backward(const OpCall& call) {
  CallReader in(call);
  UpsampleNearestBackwardArgs a{};
  a.dy = in.tensor();
  a.dx = in.tensor();
  a.factors = in.integers();
  a.first_frame = in.integer() != 0;
  a.size = in.integers();
  return a;
}

}  // namespace hn
