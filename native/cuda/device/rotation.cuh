// Rotary position embedding: what turns a pair of elements, and the tables that it is turned by.
//   a' = a · cos_a − b · sin_a,   b' = b · cos_b + a · sin_b;   transposed, for gradients:
//   a' = a · cos_a + b · sin_b,   b' = b · cos_b − a · sin_a
#pragma once

#include "cuda/device/any_rows.cuh"

namespace hn::cuda {

/// cos and sin [P, D] of any float type, or none at all: the first P tokens of a sequence are turned.
struct AngleTables {
  AnyRows cos, sin;
  int64_t positions = 0;

  AngleTables(const TensorView& c, const TensorView& s) : cos(c), sin(s), positions(c ? c.rows() : 0) {}
};

/// Heads of tokens: x [B, S, H, D] of any strides.
template <class T>
class Heads {
 public:
  explicit Heads(const TensorView& t) : data_(t.as<T>()), tokens_(t, 2) {
    if (t.rank != 4) return;  // not given
    head_stride_ = t.strides[2];
    step_ = t.strides[3];
  }

  HN_DEVICE T* token(int64_t t) const { return data_ + tokens_(t); }
  HN_DEVICE int64_t head(int64_t h) const { return h * head_stride_; }  // from the token on

  /// Elements [i, i + kCount) of a head; kWide: in one access, only where `packs` says so, at multiples of kCount.
  template <bool kWide, int kCount>
  HN_DEVICE void load(const T* head, int64_t i, compute_t<T> (&v)[kCount]) const {
    if constexpr (kWide) {
      load_pack<kCount>(head + i, v);
    } else {
#pragma unroll
      for (int k = 0; k < kCount; ++k) v[k] = widen(head[(i + k) * step_]);
    }
  }
  template <bool kWide, int kCount>
  HN_DEVICE void store(T* head, int64_t i, const float (&v)[kCount]) const {
    if constexpr (kWide) {
      store_pack<kCount>(head + i, v);
    } else {
#pragma unroll
      for (int k = 0; k < kCount; ++k) head[(i + k) * step_] = narrow<T>(v[k]);
    }
  }

 private:
  T* data_;
  RowMap tokens_;
  int64_t head_stride_ = 0, step_ = 1;
};

/// Elements [i, i + kCount) of a table's or a weight's row, as above.
template <bool kWide, int kCount>
HN_DEVICE void load_factors(const AnyRow& row, int64_t i, float (&v)[kCount]) {
  if constexpr (kWide) {
    row.load(i, v);
  } else {
#pragma unroll
    for (int k = 0; k < kCount; ++k) v[k] = row.at(i + k);
  }
}

struct Turn {
  float cos_a, sin_a, cos_b, sin_b;

  HN_DEVICE void operator()(float& a, float& b, bool transposed) const {
    const float x = a, y = b;
    a = transposed ? x * cos_a + y * sin_b : x * cos_a - y * sin_a;
    b = transposed ? y * cos_b - x * sin_a : y * cos_b + x * sin_b;
  }
};

}  // namespace hn::cuda
