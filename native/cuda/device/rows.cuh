// A tensor as rows along its last axis, of any strides; made on the host, passed to kernels by value. An input that an
// op declares with layout "rows" may be strided along that axis too: `step` is not always 1.
#pragma once

#include "cuda/device/index.cuh"
#include "cuda/device/storage.cuh"

namespace hn::cuda {

template <class T>
class Rows {
 public:
  explicit Rows(const TensorView& t) : data_(t.as<T>()), map_(t), step_(t.rank > 0 ? t.stride(-1) : 1) {}

  /// The first element of row r.
  HN_DEVICE T* row(int64_t r) const { return data_ + map_(r); }

  /// Elements [i, i + kCount) of a row. More than one only where `packs` says so for the tensor, at multiples of
  /// kCount.
  template <int kCount>
  HN_DEVICE void load(const T* row, int64_t i, compute_t<T> (&v)[kCount]) const {
    if constexpr (kCount == 1) {
      v[0] = widen(row[i * step_]);
    } else {
      load_pack<kCount>(row + i, v);
    }
  }
  template <int kCount, class V>
  HN_DEVICE void store(T* row, int64_t i, const V (&v)[kCount]) const {
    if constexpr (kCount == 1) {
      row[i * step_] = narrow<T>(v[0]);
    } else {
      store_pack<kCount>(row + i, v);
    }
  }

 private:
  T* data_;
  RowMap map_;
  int64_t step_;
};

}  // namespace hn::cuda
