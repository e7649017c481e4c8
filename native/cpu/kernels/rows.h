// A tensor as rows along its last axis, read and written in the type that kernels compute in.
#pragma once

#include "core/tensor_view.h"
#include "cpu/kernels/convert.h"

namespace hn::cpu::HN_ISA {

/// Where the rows of a tensor begin. Outer axes that follow one another are merged, so that a dense tensor, or one with
/// a single row pitch, costs no division a row.
class RowMap {
 public:
  explicit RowMap(const TensorView& t) {
    for (int i = 0; i + 1 < t.rank; ++i) {
      if (t.shape[i] == 1) continue;
      if (rank_ > 0 && strides_[rank_ - 1] == t.shape[i] * t.strides[i]) {
        shape_[rank_ - 1] *= t.shape[i];
        strides_[rank_ - 1] = t.strides[i];
      } else {
        shape_[rank_] = t.shape[i];
        strides_[rank_++] = t.strides[i];
      }
    }
  }
  /// Offset of row r from the start, in elements.
  int64_t operator()(int64_t r) const {
    int64_t offset = 0;
    for (int i = rank_ - 1; i > 0; --i) {
      offset += r % shape_[i] * strides_[i];
      r /= shape_[i];
    }
    return rank_ > 0 ? offset + r * strides_[0] : 0;
  }

 private:
  int rank_ = 0;
  int64_t shape_[kMaxRank] = {};
  int64_t strides_[kMaxRank] = {};
};

template <class Acc>
class Rows {
 public:
  explicit Rows(const TensorView& t)
      : view_(t),
        map_(t),
        width_(t.rank > 0 ? t.dim(-1) : 1),
        stride_(t.rank > 0 ? t.stride(-1) : 1),
        direct_(t.dtype == kAccType<Acc> && stride_ == 1) {
    if (!t) return;
    load_ = load_row<Acc>(t.dtype);
    store_ = store_row<Acc>(t.dtype);
  }

  int64_t width() const { return width_; }

  /// Row r: the row in place when it is of type Acc already, else `scratch` (width elements) filled.
  const Acc* load(int64_t r, Acc* scratch) const {
    const void* from = view_.at(map_(r));
    if (direct_) return static_cast<const Acc*>(from);
    load_(from, stride_, width_, scratch);
    return scratch;
  }
  /// Where to write row r: in place when it is of type Acc, else `scratch`; `finish` then stores it.
  Acc* open(int64_t r, Acc* scratch) const { return direct_ ? static_cast<Acc*>(view_.at(map_(r))) : scratch; }
  void finish(int64_t r, const Acc* values) const {
    void* to = view_.at(map_(r));
    if (values != to) store_(to, stride_, width_, values);
  }

  /// Columns [c0, c0 + n) of row r alone.
  const Acc* load_part(int64_t r, int64_t c0, int64_t n, Acc* scratch) const {
    const void* from = view_.at(map_(r) + c0 * stride_);
    if (direct_) return static_cast<const Acc*>(from);
    load_(from, stride_, n, scratch);
    return scratch;
  }
  void store_part(int64_t r, int64_t c0, int64_t n, const Acc* values) const {
    store_(view_.at(map_(r) + c0 * stride_), stride_, n, values);
  }

 private:
  TensorView view_;
  RowMap map_;
  int64_t width_, stride_;
  bool direct_;
  LoadRow<Acc> load_ = nullptr;
  StoreRow<Acc> store_ = nullptr;
};

/// Sum of term(i) for i in [0, n), in 16 interleaved chains: the same on every instruction set's vector width, open to
/// vectorisation without -ffast-math, and more exact than one chain.
template <class Acc, class Term>
inline Acc sum_of(int64_t n, Term&& term) {
  constexpr int kChains = 16;
  Acc chain[kChains] = {};
  int64_t i = 0;
  for (; i + kChains <= n; i += kChains)
    for (int c = 0; c < kChains; ++c) chain[c] += term(i + c);
  for (int c = 0; i < n; ++i, ++c) chain[c] += term(i);
  for (int width = kChains / 2; width > 0; width /= 2)
    for (int c = 0; c < width; ++c) chain[c] += chain[c + width];
  return chain[0];
}

}  // namespace hn::cpu::HN_ISA
