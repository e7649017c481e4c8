// Maximum m and Σ exp(x − m) along a row, for softmax and cross entropy. A row of −inf only, or with +inf or NaN in it,
// ends in NaN, as in the CPU backend.
#pragma once

#include "cuda/device/reduce.cuh"
#include "cuda/device/row_deal.cuh"

namespace hn::cuda {

/// e^x within a few units in the last place; exact at 0, and 0 at −inf.
HN_DEVICE float exp_of(float x) {
  constexpr float kLog2E = 1.44269504f;
  return ptx::exp2_approx(kLog2E * x);
}

/// In one pass: the sum is brought down to the new maximum with each pack (Milakov and Gimelshein 2018).
struct ExpSum {
  float top = -INFINITY, sum = 0;

  template <int kCount>
  HN_DEVICE void add(const float (&v)[kCount]) {
    float next = top, more = 0;
#pragma unroll
    for (int k = 0; k < kCount; ++k) next = Max{}(next, v[k]);
    if (next == -INFINITY) return;  // nothing yet but −inf: exp(−inf − −inf) would be NaN
#pragma unroll
    for (int k = 0; k < kCount; ++k) more += exp_of(v[k] - next);
    sum = sum * exp_of(top - next) + more;
    top = next;
  }

  /// Of all threads of a row.
  template <class D>
  HN_DEVICE ExpSum of_row() const {
    ExpSum all;
    all.top = row_reduce<D>(top, Max{}, -INFINITY);
    all.sum = row_sum<D>(top == -INFINITY ? 0.0f : sum * exp_of(top - all.top));
    return all;
  }
};

}  // namespace hn::cuda
