// How rows are dealt out to threads where something is added up along them (norms, softmax): a few rows to a block,
// each shared by one warp or by the whole block, and held in registers between the sum and what is done with it, so
// that it is read once. Only rows too long for that are read again, then from cache.
#pragma once

#include "cuda/device/any_rows.cuh"
#include "cuda/device/reduce.cuh"
#include "cuda/device/rows.cuh"
#include "cuda/launch.h"

namespace hn::cuda {

/// Thread t of a row's kRowThreads takes packs t, t + kRowThreads, … of it, and holds kHeld elements at most: the same
/// number of registers at every pack size. kHeld = 0 stands for rows of any length, which are not held.
template <int kRowThreads_, int kHeld_>
struct RowDeal {
  static constexpr int kRowThreads = kRowThreads_;
  static constexpr int kHeld = kHeld_;
  static constexpr int kBlockThreads = kRowThreads < 128 ? 128 : kRowThreads;
  static constexpr int kBlockRows = kBlockThreads / kRowThreads;

  /// For kernels that hold several values an element: blocks that an SM must have registers for. Without it the
  /// compiler keeps strides in them, which it can as well read again.
  static constexpr int kBlocks = kHeld > 16 || kBlockThreads > 192 ? 1 : 384 / kBlockThreads;

  static constexpr bool fits(int64_t width) { return kHeld == 0 || width <= kRowThreads * kHeld; }
};

/// Calls fn(RowDeal{}) for the first that a row of this width fits. 3,072 elements are 192 threads of two packs in
/// bf16. Rows that cannot be read in packs are few and short in practice, so there are few versions for them.
template <int kPackSize, class Fn>
Status choose_row_deal(int64_t width, Fn&& fn) {
  if constexpr (kPackSize == 1) {
    if (RowDeal<32, 4>::fits(width)) return fn(RowDeal<32, 4>{});
  } else {
    if (RowDeal<32, 8>::fits(width)) return fn(RowDeal<32, 8>{});
    if (RowDeal<32, 32>::fits(width)) return fn(RowDeal<32, 32>{});
    if (RowDeal<192, 16>::fits(width)) return fn(RowDeal<192, 16>{});
    if (RowDeal<256, 32>::fits(width)) return fn(RowDeal<256, 32>{});
  }
  return fn(RowDeal<256, 0>{});
}

/// Elements of a row; a tensor without axes is one row of one.
inline int64_t row_width(const TensorView& t) { return t.rank > 0 ? t.dim(-1) : 1; }

/// fn(T{}, pack size, RowDeal{}) for the type of x, rows of its width, and packs where all operands allow them.
template <class Fn, class... Views>
Status with_row_deal(Fn&& fn, const TensorView& x, const Views&... operands) {
  const auto choose = [&](auto storage, auto pack) {
    return choose_row_deal<pack()>(row_width(x), [&](auto deal) { return fn(storage, pack, deal); });
  };
  return with_packs(choose, x, operands...);
}

/// What a thread holds of a row, by turn and place in the pack; one pack at a time where rows are not held.
template <class D, int kPackSize>
using Held = float[D::kHeld > 0 ? D::kHeld / kPackSize : 1][kPackSize];

/// Where this thread stands in its row.
template <class D, int kPackSize>
struct RowPlace {
  int64_t row = static_cast<int64_t>(blockIdx.x) * D::kBlockRows + threadIdx.x / D::kRowThreads;
  int64_t first = static_cast<int64_t>(threadIdx.x % D::kRowThreads) * kPackSize;

  /// Calls fn(turn, i) for each pack of this thread, which begins at element i. The count is fixed where packs are
  /// held, so that what is indexed by `turn` stays in registers.
  template <class Fn>
  HN_DEVICE void each(int64_t width, Fn&& fn) const {
    constexpr int64_t kStep = static_cast<int64_t>(D::kRowThreads) * kPackSize;
    if constexpr (D::kHeld > 0) {
#pragma unroll
      for (int turn = 0; turn < D::kHeld / kPackSize; ++turn) {
        const int64_t i = first + turn * kStep;
        if (i < width) fn(turn, i);
      }
    } else {
      for (int64_t i = first; i < width; i += kStep) fn(0, i);
    }
  }
};

/// Over the threads of a row. With 32 of them whole warps have left already where rows end; no barrier follows.
template <class D, class T, class Op>
HN_DEVICE T row_reduce(T value, Op op, T identity) {
  if constexpr (D::kRowThreads == kWarp) {
    return warp_reduce(value, op);
  } else {
    return block_reduce<D::kBlockThreads>(value, op, identity);
  }
}
template <class D, class T>
HN_DEVICE T row_sum(T value) {
  return row_reduce<D>(value, Sum{}, T{});
}

/// Several sums at once: one exchange instead of one each.
template <int kCount>
struct Sums {
  float of[kCount];

  HN_DEVICE friend Sums operator+(const Sums& a, const Sums& b) {
    Sums sum;
#pragma unroll
    for (int i = 0; i < kCount; ++i) sum.of[i] = a.of[i] + b.of[i];
    return sum;
  }
};

}  // namespace hn::cuda
