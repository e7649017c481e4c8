// Softmax and its logarithm over the last axis, C elements a row.
//   m = max x,  s = Σ exp(x − m);   y = exp(x − m) / s, or x − m − log s
//   dx = y · (dy − Σ dy · y), or dy − exp(y) · Σ dy
// A row of −inf only, or with +inf or NaN in it, gives NaN.
//
// x, y, dy, dx [..., C] of any strides, f32, bf16 or f16. Sums are f32; values are rounded to the storage type once.
// Bytes: 2 · size(x) forward, 3 backward. FLOPs: 4 an element. Bound by memory; rows of up to 8,192 elements are held
// in registers (row_deal.cuh), longer ones are read twice.
#include "core/generated/loss.h"
#include "cuda/device/exp_sum.cuh"
#include "cuda/device/row_deal.cuh"
#include "cuda/support.h"

namespace hn::cuda {
namespace {

template <class T, int kPackSize, class D>
__global__ void __launch_bounds__(D::kBlockThreads)
    forward_kernel(Rows<T> x, Rows<T> y, bool log, int64_t rows, int64_t width) {
  const RowPlace<D, kPackSize> at;
  if (at.row >= rows) return;
  const T* const from = x.row(at.row);
  T* const to = y.row(at.row);
  Held<D, kPackSize> v;

  if constexpr (D::kHeld > 0) {
    float top = -INFINITY, sum = 0;
    at.each(width, [&](int turn, int64_t i) {
      x.load(from, i, v[turn]);
#pragma unroll
      for (int k = 0; k < kPackSize; ++k) top = Max{}(top, v[turn][k]);
    });
    top = row_reduce<D>(top, Max{}, -INFINITY);
    at.each(width, [&](int turn, int64_t) {
#pragma unroll
      for (int k = 0; k < kPackSize; ++k) {
        const float power = exp_of(v[turn][k] - top);
        sum += power;
        v[turn][k] = log ? v[turn][k] - top : power;
      }
    });
    sum = row_sum<D>(sum);
    const float factor = log ? 1.0f : 1.0f / sum, offset = log ? logf(sum) : 0.0f;
    at.each(width, [&](int turn, int64_t i) {
#pragma unroll
      for (int k = 0; k < kPackSize; ++k) v[turn][k] = v[turn][k] * factor - offset;
      y.store(to, i, v[turn]);
    });
  } else {
    ExpSum all;
    at.each(width, [&](int, int64_t i) {
      x.load(from, i, v[0]);
      all.add(v[0]);
    });
    all = all.template of_row<D>();
    const float factor = 1.0f / all.sum, offset = logf(all.sum);
    at.each(width, [&](int, int64_t i) {
      x.load(from, i, v[0]);
#pragma unroll
      for (int k = 0; k < kPackSize; ++k) {
        const float down = v[0][k] - all.top;
        v[0][k] = log ? down - offset : exp_of(down) * factor;
      }
      y.store(to, i, v[0]);
    });
  }
}

template <class T, int kPackSize, class D>
__global__ void __launch_bounds__(D::kBlockThreads)
    backward_kernel(Rows<T> dy, Rows<T> y, Rows<T> dx, bool log, int64_t rows, int64_t width) {
  const RowPlace<D, kPackSize> at;
  if (at.row >= rows) return;
  const T *const y_row = y.row(at.row), *const dy_row = dy.row(at.row);
  Held<D, kPackSize> v, g;
  float sum = 0;
  at.each(width, [&](int turn, int64_t i) {
    y.load(y_row, i, v[turn]);
    dy.load(dy_row, i, g[turn]);
#pragma unroll
    for (int k = 0; k < kPackSize; ++k) sum += log ? g[turn][k] : g[turn][k] * v[turn][k];
  });
  sum = row_sum<D>(sum);

  T* const to = dx.row(at.row);
  at.each(width, [&](int turn, int64_t i) {
    if constexpr (D::kHeld == 0) {
      y.load(y_row, i, v[turn]);
      dy.load(dy_row, i, g[turn]);
    }
#pragma unroll
    for (int k = 0; k < kPackSize; ++k) {
      v[turn][k] = log ? g[turn][k] - exp_of(v[turn][k]) * sum : v[turn][k] * (g[turn][k] - sum);
    }
    dx.store(to, i, v[turn]);
  });
}

}  // namespace

// --- launchers -----------------------------------------------------------------------------------------------------

HN_SUPPORTS(softmax, kFloats);
HN_SUPPORTS(softmax_backward, kFloats);

Status softmax(const Context& ctx, const SoftmaxArgs& a) {
  const int64_t rows = a.x.rows(), width = row_width(a.x);
  return with_row_deal(
      [&](auto storage, auto pack, auto deal) {
        using T = decltype(storage);
        using D = decltype(deal);
        return HN_LAUNCH((forward_kernel<T, pack(), D>), ceil_div(rows, D::kBlockRows), D::kBlockThreads, 0, ctx,
                         Rows<T>(a.x), Rows<T>(a.y), a.log, rows, width);
      },
      a.x, a.y);
}

Status softmax_backward(const Context& ctx, const SoftmaxBackwardArgs& a) {
  if (a.dy.dtype != a.y.dtype) return Status::missing("softmax_backward: dy is of another type than y");
  const int64_t rows = a.y.rows(), width = row_width(a.y);
  return with_row_deal(
      [&](auto storage, auto pack, auto deal) {
        using T = decltype(storage);
        using D = decltype(deal);
        return HN_LAUNCH((backward_kernel<T, pack(), D>), ceil_div(rows, D::kBlockRows), D::kBlockThreads, 0, ctx,
                         Rows<T>(a.dy), Rows<T>(a.y), Rows<T>(a.dx), a.log, rows, width);
      },
      a.y, a.dy, a.dx);
}

}  // namespace hn::cuda
