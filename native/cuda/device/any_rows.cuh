// Rows of operands whose type is looked at in the kernel (any_ptr.cuh) and that are read beside each row of the main
// operand: weights, modulations, tables of angles. One switch a pack, and accesses of 16 bytes.
#pragma once

#include <type_traits>

#include "cuda/device/any_ptr.cuh"
#include "cuda/device/index.cuh"

namespace hn::cuda {

/// One row, or none (an argument that was not given).
class AnyRow {
 public:
  AnyRow() = default;
  HN_DEVICE AnyRow(AnyPtr data, int64_t step) : data_(data), step_(step) {}

  HN_DEVICE explicit operator bool() const { return data_.data != nullptr; }

  /// Elements [i, i + kCount). More than one only where `packs` says so for the tensor, at multiples of kCount.
  template <int kCount>
  HN_DEVICE void load(int64_t i, float (&v)[kCount]) const {
    if constexpr (kCount == 1) {
      v[0] = data_.load(i * step_);
      return;
    }
    switch (data_.dtype) {
      case DType::f32:
        return load_wide<float>(i, v);
      case DType::bf16:
        return load_wide<bf16>(i, v);
      case DType::f16:
        return load_wide<f16>(i, v);
      default:
        return load_wide<double>(i, v);
    }
  }
  template <int kCount>
  HN_DEVICE void load_or(int64_t i, float otherwise, float (&v)[kCount]) const {
    if (data_.data != nullptr) return load(i, v);
#pragma unroll
    for (int k = 0; k < kCount; ++k) v[k] = otherwise;
  }
  /// One element, whatever the layout.
  HN_DEVICE float at(int64_t i) const { return data_.load(i * step_); }

 private:
  template <class T, int kCount>
  HN_DEVICE void load_wide(int64_t i, float (&v)[kCount]) const {
    constexpr int kWide = kCount < kPack<T> ? kCount : kPack<T>;
    const T* const from = static_cast<const T*>(data_.data) + i;
#pragma unroll
    for (int part = 0; part < kCount; part += kWide) {
      compute_t<T> items[kWide];
      load_pack<kWide>(from + part, items);
#pragma unroll
      for (int k = 0; k < kWide; ++k) v[part + k] = static_cast<float>(items[k]);
    }
  }

  AnyPtr data_;
  int64_t step_ = 1;
};

/// A tensor of such rows along its last axis, of any strides; made on the host, passed to kernels by value.
class AnyRows {
 public:
  AnyRows() = default;
  explicit AnyRows(const TensorView& t)
      : data_(t), map_(t), step_(t.rank > 0 ? t.stride(-1) : 1), bytes_(info(t.dtype).block_bytes) {}

  HN_DEVICE explicit operator bool() const { return data_.data != nullptr; }

  HN_DEVICE AnyRow row(int64_t r) const {
    if (data_.data == nullptr) return {};
    AnyPtr row = data_;
    row.data = static_cast<const char*>(row.data) + map_(r) * bytes_;
    return {row, step_};
  }

 private:
  AnyPtr data_;
  RowMap map_;
  int64_t step_ = 1, bytes_ = 1;
};

/// Writes elements [i, i + kCount) of a dense output; i is a multiple of kCount.
template <int kCount>
HN_DEVICE void store_any(const AnyOut& out, int64_t i, const float (&v)[kCount]) {
  const auto store_as = [&](auto storage) {
    using T = decltype(storage);
    constexpr int kWide = kCount < kPack<T> ? kCount : kPack<T>;
#pragma unroll
    for (int part = 0; part < kCount; part += kWide) {
      float items[kWide];
#pragma unroll
      for (int k = 0; k < kWide; ++k) items[k] = v[part + k];
      store_pack<kWide>(static_cast<T*>(out.data) + i + part, items);
    }
  };
  switch (out.dtype) {
    case DType::f32:
      return store_as(float{});
    case DType::bf16:
      return store_as(bf16{});
    case DType::f16:
      return store_as(f16{});
    default:
      return store_as(double{});
  }
}

/// fn(T{}, pack size) for the type of x, and packs of 16 bytes where all operands can be read in them (one that was not
/// given stands in nobody's way).
template <class Fn, class... Views>
Status with_packs(Fn&& fn, const TensorView& x, const Views&... operands) {
  return with_storage(x.dtype, [&](auto storage) {
    const bool all = packs(x) && ((!operands || packs(operands)) && ...);
    return all ? fn(storage, std::integral_constant<int, kPack<decltype(storage)>>{})
               : fn(storage, std::integral_constant<int, 1>{});
  });
}

}  // namespace hn::cuda
