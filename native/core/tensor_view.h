// A tensor as kernels see it: an address, a type, a shape and strides. It owns nothing.
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace hn {

constexpr int kMaxRank = 6;

struct TensorView {
  void* data = nullptr;
  DType dtype = DType::f32;
  int32_t rank = 0;
  int64_t shape[kMaxRank] = {};
  int64_t strides[kMaxRank] = {};  // in elements; 0 repeats an axis

  /// An optional argument that was not given has no data; an empty tensor has some.
  explicit operator bool() const { return data != nullptr; }

  int64_t elements() const {
    int64_t n = 1;
    for (int i = 0; i < rank; ++i) n *= shape[i];
    return n;
  }
  int64_t dim(int i) const { return shape[i < 0 ? rank + i : i]; }
  int64_t stride(int i) const { return strides[i < 0 ? rank + i : i]; }

  /// Rows are runs along the last axis; this is their number.
  int64_t rows() const {
    int64_t n = 1;
    for (int i = 0; i + 1 < rank; ++i) n *= shape[i];
    return n;
  }
  /// Distance of row r from the start, in elements, for any strides of the outer axes.
  int64_t row_offset(int64_t r) const {
    int64_t offset = 0;
    for (int i = rank - 2; i >= 0; --i) {
      offset += r % shape[i] * strides[i];
      r /= shape[i];
    }
    return offset;
  }
  bool is_dense() const {
    int64_t expected = 1;
    for (int i = rank - 1; i >= 0; --i) {
      if (shape[i] != 1 && strides[i] != expected) return false;
      expected *= shape[i];
    }
    return true;
  }

  template <class T>
  T* as() const {
    return static_cast<T*>(data);
  }
  /// Address of an element given its offset in elements. Valid for every type of one element a block.
  void* at(int64_t offset) const { return static_cast<char*>(data) + offset * info(dtype).block_bytes; }
};

/// [B, H, W, C] as [B, 1, H, W, C], and a weight [Cout, kh, kw, Cin] as [Cout, 1, kh, kw, Cin]; else the view itself.
inline TensorView with_frames(TensorView t) {
  if (t.rank != 4) return t;
  for (int i = 4; i > 1; --i) {
    t.shape[i] = t.shape[i - 1];
    t.strides[i] = t.strides[i - 1];
  }
  t.shape[1] = 1;
  t.strides[1] = 0;
  t.rank = 5;
  return t;
}

/// A list argument (concat, multi-tensor optimizers).
struct TensorList {
  const TensorView* items = nullptr;
  int32_t count = 0;

  const TensorView& operator[](int64_t i) const { return items[i]; }
  const TensorView* begin() const { return items; }
  const TensorView* end() const { return items + count; }
};

}  // namespace hn
