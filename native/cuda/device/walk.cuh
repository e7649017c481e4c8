// Tensors walked together, in row-major order of one shape, by blocks that take neighbouring elements. Axes are made
// and shaped on the host; a Walk made of them is passed to kernels by value.
//
// ElementMap (index.cuh) divides 64-bit numbers for each element, which arithmetic on two-byte elements has no time
// for. Here a thread does so once, for its block's first element; each element is that place and a step, carried from
// axis to axis by divisions of 32 bits, two instructions each. Offsets stay 64 bits wide.
#pragma once

#include "core/status.h"
#include "core/tensor_view.h"
#include "cuda/device/divider.cuh"
#include "cuda/device/divider32.cuh"

namespace hn::cuda {

/// What a launcher answers where axes are not walkable().
constexpr Status kTooLong = {Code::kernel_missing, "an inner axis is longer than this kernel can count"};

/// The axes of kOperands views of one shape, outermost first: those of one element dropped, neighbours merged where all
/// operands allow. A stride of 0 repeats an axis; an operand that was not given (no data) counts as repeated.
template <int kOperands>
struct Axes {
  using Views = const TensorView* const (&)[kOperands];
  static constexpr int64_t kLongest = int64_t{1} << 30;

  int rank = 0;  // at least 1, once made of views
  int64_t sizes[kMaxRank] = {};
  int64_t strides[kMaxRank][kOperands] = {};

  Axes() = default;
  explicit Axes(Views views) {
    const TensorView& shape = *views[0];
    for (int i = 0; i < shape.rank; ++i) {
      if (shape.shape[i] == 1) continue;
      int64_t next[kOperands];
      for (int k = 0; k < kOperands; ++k) next[k] = *views[k] ? views[k]->strides[i] : 0;
      add(shape.shape[i], next);
    }
    if (rank > 0) return;
    rank = sizes[0] = 1;
    for (int k = 0; k < kOperands; ++k) strides[0][k] = 1;
  }

  /// One more axis within the others. Inner axes do not grow beyond what can be counted (see walkable).
  void add(int64_t size, const int64_t (&next)[kOperands]) {
    bool merges = rank == 1 || (rank > 1 && sizes[rank - 1] * size <= kLongest);
    for (int k = 0; k < kOperands; ++k) merges = merges && strides[rank - 1][k] == size * next[k];
    if (!merges) sizes[rank++] = 1;
    sizes[rank - 1] *= size;
    for (int k = 0; k < kOperands; ++k) strides[rank - 1][k] = next[k];
  }

  int64_t elements() const {
    int64_t n = 1;
    for (int i = 0; i < rank; ++i) n *= sizes[i];
    return n;
  }
  int64_t width() const { return sizes[rank - 1]; }
  int64_t step(int operand) const { return strides[rank - 1][operand]; }

  /// All but the outermost axis are counted in 32 bits. What is denied is odd: a single axis of more than a billion
  /// elements within another one.
  bool walkable() const {
    for (int i = 1; i < rank; ++i) {
      if (sizes[i] > kLongest) return false;
    }
    return true;
  }

  /// Whether `count` neighbours along the innermost axis can be moved at once: they lie together in every operand, or
  /// are the same element (where `may_repeat`), and begin at multiples of their size. A lone axis may have a rest.
  bool packs(Views views, int count, bool may_repeat) const {
    if (rank == 1 ? width() < count : width() % count != 0) return false;
    for (int k = 0; k < kOperands; ++k) {
      const TensorView& t = *views[k];
      if (!t || (may_repeat && k > 0 && step(k) == 0)) continue;
      const auto address = reinterpret_cast<uintptr_t>(t.data);
      if (step(k) != 1 || address % static_cast<size_t>(count * info(t.dtype).block_bytes) != 0) return false;
      for (int i = 0; i + 1 < rank; ++i) {
        if (strides[i][k] % count != 0) return false;
      }
    }
    return true;
  }
  /// The largest power of two up to `most` of which that is true.
  int widest_pack(Views views, int most, bool may_repeat = false) const {
    int count = most;
    while (count > 1 && !packs(views, count, may_repeat)) count /= 2;
    return count;
  }

  /// Packs become the elements; offsets stay those of elements. What is left over of a lone axis becomes a pack too.
  void group(int count) {
    sizes[rank - 1] = (width() + count - 1) / count;
    for (int k = 0; k < kOperands; ++k) strides[rank - 1][k] *= count;
  }
  /// Packs become the elements, in offsets too: for operands that are all dense along the innermost axis.
  void rescale(int count) {
    sizes[rank - 1] /= count;
    for (int i = 0; i + 1 < rank; ++i) {
      for (int k = 0; k < kOperands; ++k) strides[i][k] /= count;
    }
  }
};

template <int kOperands>
class Walk {
 public:
  static constexpr int kOutermost = kMaxRank - 1;

  /// Of axes that are walkable().
  explicit Walk(const Axes<kOperands>& axes) : inner_(axes.rank > 0 ? axes.rank - 1 : 0) {
    for (int i = 0; i < inner_; ++i) {
      const int axis = axes.rank - 1 - i;
      dividers_[i] = Divider(axes.sizes[axis]);
      sizes_[i] = Divider32(axes.sizes[axis]);
      for (int k = 0; k < kOperands; ++k) strides_[i][k] = axes.strides[axis][k];
    }
    for (int k = 0; k < kOperands && axes.rank > 0; ++k) strides_[kOutermost][k] = axes.strides[0][k];
  }

  /// Where on each axis an element stands.
  struct Place {
    int inner[kMaxRank - 1];
    int64_t outermost;
  };

  HN_DEVICE Place place(int64_t element) const {
    Place at;
#pragma unroll
    for (int i = 0; i < kMaxRank - 1; ++i) {
      at.inner[i] = i < inner_ ? static_cast<int>(dividers_[i].split(element)) : 0;
    }
    at.outermost = element;
    return at;
  }

  /// Calls fn(axis, index) for the element `step` (below 2^20) after `from`: axis 0 is the innermost, kOutermost the
  /// outermost however many there are. Axes come as constants, so that what is indexed by them stays in registers.
  template <class Fn>
  HN_DEVICE void each(const Place& from, int step, Fn&& fn) const {
#pragma unroll
    for (int i = 0; i < kMaxRank - 1; ++i) {
      if (i >= inner_) continue;
      step += from.inner[i];
      const int at = sizes_[i].split(step);  // what is left of the step is carried to the next axis
      fn(i, static_cast<int64_t>(at));
    }
    fn(kOutermost, from.outermost + step);
  }

  HN_DEVICE void offsets(const Place& from, int step, int64_t (&out)[kOperands]) const {
#pragma unroll
    for (int k = 0; k < kOperands; ++k) out[k] = 0;
    each(from, step, [&](int axis, int64_t at) {
#pragma unroll
      for (int k = 0; k < kOperands; ++k) out[k] += at * strides_[axis][k];
    });
  }

 private:
  int inner_;
  Divider dividers_[kMaxRank - 1];
  Divider32 sizes_[kMaxRank - 1];
  int64_t strides_[kMaxRank][kOperands] = {};
};

}  // namespace hn::cuda
