// The launches of copy.cu and fill.cu, for ops that are made of copies.
#pragma once

#include "core/tensor_view.h"
#include "cuda/context.h"

namespace hn::cuda {

/// Copies between views of one shape, any strides on both sides (0 repeats an axis of `from`), converting the type.
Status copy_view(const Context& ctx, const TensorView& from, const TensorView& to);

/// Puts a number everywhere in a view, converted to its type.
Status fill_view(const Context& ctx, double value, const TensorView& to);

/// The part of a tensor from `start` on along an axis.
inline TensorView part_of(TensorView t, int axis, int64_t start, int64_t size) {
  t.data = t.at(start * t.strides[axis]);
  t.shape[axis] = size;
  return t;
}

}  // namespace hn::cuda
