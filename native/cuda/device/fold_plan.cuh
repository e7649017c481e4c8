// What a fold (fold.cuh) walks: the axes that go and those that stay, and the elements as they are read.
#pragma once

#include "cuda/device/any_ptr.cuh"
#include "cuda/device/index.cuh"

namespace hn::cuda {

/// Some of a tensor's axes in order, as one axis of `elements()`: those of one element are dropped, neighbours merged.
class AxisGroup {
 public:
  /// The axes that are set in `axes`.
  AxisGroup(const TensorView& t, unsigned axes) {
    for (int i = 0; i < t.rank; ++i) {
      if ((axes >> i & 1u) == 0 || t.shape[i] == 1) continue;
      const bool merges = view_.rank > 0 && view_.stride(-1) == t.shape[i] * t.strides[i];
      if (!merges) view_.shape[view_.rank++] = 1;
      view_.shape[view_.rank - 1] *= t.shape[i];
      view_.strides[view_.rank - 1] = t.strides[i];
    }
  }

  int rank() const { return view_.rank; }
  int64_t elements() const { return view_.elements(); }
  int64_t step() const { return view_.rank > 0 ? view_.stride(-1) : 0; }
  RowMap map() const { return RowMap(view_, view_.rank); }

  /// Whether every element begins a multiple of `count` away from the first.
  bool whole(int count) const { return whole(count, view_.rank); }
  /// Whether neighbours can be read `count` at a time; a lone axis may have a rest.
  bool packs(int count) const {
    if (view_.rank == 0 || step() != 1 || view_.dim(-1) < count) return false;
    return view_.rank == 1 || (view_.dim(-1) % count == 0 && whole(count, view_.rank - 1));
  }

 private:
  bool whole(int count, int axes) const {
    for (int i = 0; i < axes; ++i) {
      if (view_.strides[i] % count != 0) return false;
    }
    return true;
  }

  TensorView view_;
};

struct FoldPlan {
  AxisGroup kept, reduced;
  bool columns;

  /// `axes` are those that go.
  FoldPlan(const TensorView& t, unsigned axes) : kept(t, ~axes), reduced(t, axes) {
    columns = reduced.rank() == 0 || (kept.rank() > 0 && kept.step() < reduced.step());
  }

  int64_t outputs() const { return kept.elements(); }
  int64_t count() const { return reduced.elements(); }
  bool packs(const TensorView& t, int count) const {
    const AxisGroup &inner = columns ? kept : reduced, &outer = columns ? reduced : kept;
    const auto address = reinterpret_cast<uintptr_t>(t.data);
    return inner.packs(count) && outer.whole(count) && address % (count * info(t.dtype).block_bytes) == 0;
  }
};

/// Elements of type T as floats, in packs of 16 bytes.
template <class T>
struct PackSource {
  static constexpr int kCount = kPack<T>;
  using Value = compute_t<T>;
  const T* data;

  HN_DEVICE void load(int64_t at, Value (&v)[kCount]) const { load_pack<kCount>(data + at, v); }
  HN_DEVICE void load(int64_t at, Value (&v)[1]) const { v[0] = widen(data[at]); }
};
/// What does not come in packs: one kernel for all float types.
struct FloatSource {
  static constexpr int kCount = 1;
  using Value = float;
  AnyPtr data;

  HN_DEVICE void load(int64_t at, float (&v)[1]) const { v[0] = data.load(at); }
};
/// One kernel for i32, i64, u8 and bool.
struct IntSource {
  static constexpr int kCount = 1;
  using Value = int64_t;
  const void* data;
  DType dtype;

  HN_DEVICE void load(int64_t at, int64_t (&v)[1]) const {
    switch (dtype) {
      case DType::i32:
        v[0] = widen(static_cast<const int32_t*>(data)[at]);
        break;
      case DType::i64:
        v[0] = widen(static_cast<const int64_t*>(data)[at]);
        break;
      case DType::u8:
        v[0] = widen(static_cast<const uint8_t*>(data)[at]);
        break;
      default:
        v[0] = widen(static_cast<const boolean*>(data)[at]);
    }
  }
};
/// States that segments have left.
template <class State>
struct StateSource {
  static constexpr int kCount = 1;
  using Value = State;
  const State* data;

  HN_DEVICE void load(int64_t at, State (&v)[1]) const { v[0] = data[at]; }
};

}  // namespace hn::cuda
