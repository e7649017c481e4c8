// Operands whose type is looked at in the kernel: weights, biases, gates, sums. One switch an access instead of one
// kernel a combination of types; the branch is the same for every thread, and such operands are read from cache.
#pragma once

#include "cuda/device/storage.cuh"

namespace hn::cuda {

/// A float tensor's data, or nullptr for an argument that was not given.
struct AnyPtr {
  const void* data = nullptr;
  DType dtype = DType::f32;

  AnyPtr() = default;
  explicit AnyPtr(const TensorView& t) : data(t.data), dtype(t.dtype) {}

  HN_DEVICE explicit operator bool() const { return data != nullptr; }

  HN_DEVICE float load(int64_t i) const {
    switch (dtype) {
      case DType::f32:
        return static_cast<const float*>(data)[i];
      case DType::bf16:
        return widen(static_cast<const bf16*>(data)[i]);
      case DType::f16:
        return widen(static_cast<const f16*>(data)[i]);
      case DType::f64:
        return static_cast<float>(static_cast<const double*>(data)[i]);
      default:
        return widen(static_cast<const f8e4m3*>(data)[i]);
    }
  }
  HN_DEVICE float load_or(int64_t i, float otherwise) const { return data != nullptr ? load(i) : otherwise; }
};

/// The same, to be written.
struct AnyOut {
  void* data = nullptr;
  DType dtype = DType::f32;

  AnyOut() = default;
  explicit AnyOut(const TensorView& t) : data(t.data), dtype(t.dtype) {}

  HN_DEVICE explicit operator bool() const { return data != nullptr; }

  HN_DEVICE void store(int64_t i, float v) const {
    switch (dtype) {
      case DType::f32:
        static_cast<float*>(data)[i] = v;
        break;
      case DType::bf16:
        static_cast<bf16*>(data)[i] = narrow<bf16>(v);
        break;
      case DType::f16:
        static_cast<f16*>(data)[i] = narrow<f16>(v);
        break;
      case DType::f64:
        static_cast<double*>(data)[i] = v;
        break;
      default:
        static_cast<f8e4m3*>(data)[i] = narrow<f8e4m3>(v);
    }
  }
};

/// An index tensor (ids, labels, lengths) of type i32 or i64.
struct AnyIndex {
  const void* data = nullptr;
  DType dtype = DType::i64;

  AnyIndex() = default;
  explicit AnyIndex(const TensorView& t) : data(t.data), dtype(t.dtype) {}

  HN_DEVICE explicit operator bool() const { return data != nullptr; }
  HN_DEVICE int64_t load(int64_t i) const {
    return dtype == DType::i64 ? static_cast<const int64_t*>(data)[i] : static_cast<const int32_t*>(data)[i];
  }
};

}  // namespace hn::cuda
