// RMS normalisation over the last axis, C elements a row.
//   y = x · r · w,  r = 1 / sqrt(mean(x²) + eps)
//   dx = r · (g · w − x · r² · mean(g · w · x)),  g = dy;   dw = Σ_rows dy · x · r
//
// x, dy, dx [..., C] of any strides, f32, bf16 or f16; w [C] of any float type; dw [C] in f32. Sums are f32; values are
// rounded to the storage type once, when stored. Rows that are whole packs of 16 bytes are read and written in packs.
// Bytes: forward 2 · size(x), backward 3 · size(x). FLOPs: 4 and 10 an element. Bound by memory: [1, 118800, 24, 128]
// in bf16 moves 1.46 GB forward.
//
// A row is held in registers between the sum and the product (row_deal.cuh), so that it is read once.
// The gradient of the weight: each chunk of rows adds up its share in a fixed order, a second kernel adds the shares.
#include "core/generated/norm.h"
#include "cuda/device/any_rows.cuh"
#include "cuda/device/row_deal.cuh"
#include "cuda/device/shares.cuh"
#include "cuda/support.h"

namespace hn::cuda {
namespace {

template <class T, int kPackSize, class D>
__global__ void __launch_bounds__(D::kBlockThreads)
    forward_kernel(Rows<T> x, AnyRows weights, Rows<T> y, int64_t rows, int64_t width, float eps) {
  const RowPlace<D, kPackSize> at;
  if (at.row >= rows) return;
  const T* const from = x.row(at.row);
  Held<D, kPackSize> v;
  float squares = 0;
  at.each(width, [&](int turn, int64_t i) {
    x.load(from, i, v[turn]);
#pragma unroll
    for (int k = 0; k < kPackSize; ++k) squares += v[turn][k] * v[turn][k];
  });
  const float r = 1.0f / sqrtf(row_sum<D>(squares) / static_cast<float>(width) + eps);

  const AnyRow weight = weights.row(0);
  T* const to = y.row(at.row);
  at.each(width, [&](int turn, int64_t i) {
    if constexpr (D::kHeld == 0) x.load(from, i, v[turn]);
    float w[kPackSize];
    weight.load_or(i, 1.0f, w);
#pragma unroll
    for (int k = 0; k < kPackSize; ++k) v[turn][k] *= r * w[k];
    y.store(to, i, v[turn]);
  });
}

/// The threads of a row take a chunk of rows, one after the other. shares: [chunks, C] in f32, or nullptr.
template <class T, int kPackSize, class D>
__global__ void __launch_bounds__(D::kBlockThreads, D::kBlocks)
    backward_kernel(Rows<T> dy, Rows<T> x, AnyRows weights, Rows<T> dx, float* shares, RowChunks chunks, int64_t width,
                    float eps) {
  const RowPlace<D, kPackSize> at;
  if (at.row >= chunks.count()) return;
  const RowSpan span = chunks.span(at.row);
  const AnyRow weight = weights.row(0);
  float* const share = shares != nullptr ? shares + at.row * width : nullptr;
  Held<D, kPackSize> v, g, sum = {};

  for (int64_t row = span.begin; row < span.end; ++row) {
    const T *const x_row = x.row(row), *const dy_row = dy.row(row);
    Sums<2> sums = {};  // of squares, of products
    at.each(width, [&](int turn, int64_t i) {
      x.load(x_row, i, v[turn]);
      dy.load(dy_row, i, g[turn]);
      float w[kPackSize];
      weight.load_or(i, 1.0f, w);
#pragma unroll
      for (int k = 0; k < kPackSize; ++k) {
        sums.of[0] += v[turn][k] * v[turn][k];
        sums.of[1] += g[turn][k] * w[k] * v[turn][k];
      }
    });
    sums = row_sum<D>(sums);
    const float count = static_cast<float>(width);
    const float r = 1.0f / sqrtf(sums.of[0] / count + eps);
    const float pull = r * r * (sums.of[1] / count);

    T* const dx_row = dx.row(row);
    at.each(width, [&](int turn, int64_t i) {
      if constexpr (D::kHeld == 0) {
        x.load(x_row, i, v[turn]);
        dy.load(dy_row, i, g[turn]);
      }
      float w[kPackSize], out[kPackSize];
      weight.load_or(i, 1.0f, w);
#pragma unroll
      for (int k = 0; k < kPackSize; ++k) {
        const float part = g[turn][k] * v[turn][k] * r;
        if constexpr (D::kHeld > 0) sum[turn][k] += part;
        // Too long for registers: the share is kept in memory, where only this thread touches these elements.
        else if (share != nullptr)
          share[i + k] = (row == span.begin ? 0.0f : share[i + k]) + part;
        out[k] = r * (g[turn][k] * w[k] - v[turn][k] * pull);
      }
      dx.store(dx_row, i, out);
    });
  }
  if constexpr (D::kHeld > 0) {
    if (share == nullptr) return;
    at.each(width, [&](int turn, int64_t i) {
#pragma unroll
      for (int k = 0; k < kPackSize; ++k) share[i + k] = sum[turn][k];
    });
  }
}

}  // namespace

// --- launchers -----------------------------------------------------------------------------------------------------

HN_SUPPORTS(rms_norm, kFloats);
HN_SUPPORTS(rms_norm_backward, kFloats);

Status rms_norm(const Context& ctx, const RmsNormArgs& a) {
  const int64_t rows = a.x.rows(), width = row_width(a.x);
  return with_row_deal(
      [&](auto storage, auto pack, auto deal) {
        using T = decltype(storage);
        using D = decltype(deal);
        return HN_LAUNCH((forward_kernel<T, pack(), D>), ceil_div(rows, D::kBlockRows), D::kBlockThreads, 0, ctx,
                         Rows<T>(a.x), AnyRows(a.weight), Rows<T>(a.y), rows, width, static_cast<float>(a.eps));
      },
      a.x, a.y, a.weight);
}

Status rms_norm_backward(const Context& ctx, const RmsNormBackwardArgs& a) {
  if (a.dy.dtype != a.x.dtype) return Status::missing("rms_norm_backward: dy is of another type than x");
  const int64_t rows = a.x.rows(), width = row_width(a.x);
  const RowChunks chunks = a.dweight ? RowChunks(1, rows, 4) : RowChunks(1, rows, 1, rows);
  float* shares = nullptr;
  if (a.dweight && (shares = ctx.workspace<float>(chunks.count() * width)) == nullptr) return Status::no_memory();
  HN_RETURN_IF_ERROR(with_row_deal(
      [&](auto storage, auto pack, auto deal) {
        using T = decltype(storage);
        using D = decltype(deal);
        return HN_LAUNCH((backward_kernel<T, pack(), D>), ceil_div(chunks.count(), D::kBlockRows), D::kBlockThreads, 0,
                         ctx, Rows<T>(a.dy), Rows<T>(a.x), AnyRows(a.weight), Rows<T>(a.dx), shares, chunks, width,
                         static_cast<float>(a.eps));
      },
      a.x, a.dy, a.dx, a.weight));
  return a.dweight ? add_shares(ctx, shares, chunks.count(), width, a.dweight) : Status{};
}

}  // namespace hn::cuda
