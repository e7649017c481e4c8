// From an index to an address, for any strides. Made on the host, passed to kernels by value. Offsets are in elements
// and 64 bits wide: a decoded clip has more than 2^32 of them.
#pragma once

#include "core/tensor_view.h"
#include "cuda/device/divider.cuh"

namespace hn::cuda {

/// Where the rows of a tensor (runs along its last axis) begin. Outer axes that follow one another are merged, so that
/// a dense tensor, or one with a single row pitch, costs one product a row.
class RowMap {
 public:
  RowMap() = default;
  explicit RowMap(const TensorView& t) : RowMap(t, t.rank - 1) {}
  /// The first `axes` axes alone: [B, S] of [B, S, H, D] with axes = 2.
  RowMap(const TensorView& t, int axes) {
    for (int i = 0; i < axes; ++i) {
      if (t.shape[i] == 1) continue;
      const bool merges = rank_ > 0 && strides_[rank_ - 1] == t.shape[i] * t.strides[i];
      if (!merges) ++rank_;
      shape_[rank_ - 1] = Divider(merges ? shape_[rank_ - 1].divisor() * t.shape[i] : t.shape[i]);
      strides_[rank_ - 1] = t.strides[i];
    }
  }

  HN_DEVICE int64_t operator()(int64_t r) const {
    if (rank_ <= 1) return rank_ == 0 ? 0 : r * strides_[0];
    int64_t offset = 0;
#pragma unroll
    for (int i = kMaxRank - 1; i > 0; --i) {  // a fixed count, so that the arrays stay out of local memory
      if (i < rank_) offset += shape_[i].split(r) * strides_[i];
    }
    return offset + r * strides_[0];
  }

  /// The merged axes, outermost first.
  int rank() const { return rank_; }
  int64_t size(int axis) const { return shape_[axis].divisor(); }
  int64_t stride(int axis) const { return strides_[axis]; }

 private:
  int rank_ = 0;
  Divider shape_[kMaxRank];
  int64_t strides_[kMaxRank] = {};
};

/// The elements of kOperands tensors walked together over one shape, broadcast axes included (stride 0). Axes that can
/// be merged for all of them are. Element i of the shape, in row-major order, is at offsets[k] of operand k.
template <int kOperands>
class ElementMap {
 public:
  /// Tensors of the same shape, as kernels get them; one that was not given (no data) counts as broadcast.
  ElementMap(const TensorView& shape, const TensorView* const (&operands)[kOperands]) {
    for (int i = 0; i < shape.rank; ++i) {
      if (shape.shape[i] == 1) continue;
      int64_t strides[kOperands];
      for (int k = 0; k < kOperands; ++k) strides[k] = *operands[k] ? stride_of(*operands[k], shape, i) : 0;
      push(shape.shape[i], strides);
    }
    for (int k = 0; k < kOperands; ++k) dense_ = dense_ && (rank_ == 0 || (rank_ == 1 && strides_[0][k] == 1));
  }

  /// All operands are dense in the order of the walk: every offset is the index itself.
  bool dense() const { return dense_; }

  HN_DEVICE void offsets(int64_t i, int64_t (&out)[kOperands]) const {
#pragma unroll
    for (int k = 0; k < kOperands; ++k) out[k] = dense_ ? i : 0;
    if (dense_) return;
#pragma unroll
    for (int axis = kMaxRank - 1; axis >= 0; --axis) {
      if (axis >= rank_) continue;
      const int64_t at = axis == 0 ? i : shape_[axis].split(i);
#pragma unroll
      for (int k = 0; k < kOperands; ++k) out[k] += at * strides_[axis][k];
    }
  }

 private:
  /// Axes are aligned at the end; an axis of one element, or one that is not there, is repeated.
  static int64_t stride_of(const TensorView& t, const TensorView& shape, int axis) {
    const int own = axis - (shape.rank - t.rank);
    return own < 0 || t.shape[own] == 1 ? 0 : t.strides[own];
  }

  void push(int64_t size, const int64_t (&strides)[kOperands]) {
    bool merges = rank_ > 0;
    for (int k = 0; k < kOperands; ++k) merges = merges && strides_[rank_ - 1][k] == size * strides[k];
    if (!merges) ++rank_;
    shape_[rank_ - 1] = Divider(merges ? shape_[rank_ - 1].divisor() * size : size);
    for (int k = 0; k < kOperands; ++k) strides_[rank_ - 1][k] = strides[k];
  }

  int rank_ = 0;
  bool dense_ = true;
  Divider shape_[kMaxRank];
  int64_t strides_[kMaxRank][kOperands] = {};
};

}  // namespace hn::cuda
