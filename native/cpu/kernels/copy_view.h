// The copy of copy.cc, for kernels that are made of copies.
#pragma once

#include "core/tensor_view.h"
#include "cpu/context.h"

namespace hn::cpu::HN_ISA {

/// Copies between views of the same shape, any strides on both sides (0 repeats an axis of `from`), converting the
/// type.
void copy_view(const Context& ctx, const TensorView& from, const TensorView& to);

/// Fills a view with zeros.
void zero_view(const Context& ctx, const TensorView& to);

/// The part of a tensor from `start` on along an axis.
inline TensorView part_of(TensorView t, int axis, int64_t start, int64_t size) {
  t.data = t.at(start * t.strides[axis]);
  t.shape[axis] = size;
  return t;
}

}  // namespace hn::cpu::HN_ISA
