// Layer normalisation over the last axis, C elements a row, with the modulation of a diffusion transformer.
//   n = (x − mean) · r,  r = 1 / sqrt(mean((x − mean)²) + eps);   y = (n · w + b) · (1 + scale) + shift
//   g = dy · (1 + scale) · w;   dx = r · (g − mean(g) − n · mean(g · n))
// With S0 = Σ dy and S1 = Σ dy · n over the rows that share a row of scale:
//   dshift = S0,  dscale = w · S1 + b · S0,  db = Σ_groups (1 + scale) · S0,  dw = Σ_groups (1 + scale) · S1
//
// x, dy, dx, y [..., C] of any strides, f32, bf16 or f16; w, b [C] and shift, scale of any float type, the latter with
// a row for each group of consecutive rows of x ([B, C] beside [B, S, C]) or for each row, of any strides. dw, db are
// f32, dshift and dscale of scale's type. Sums are f32, and the variance is found in a second pass over registers, so
// that large means do not cancel; values are rounded to the storage type once. Rows are read in packs of 16 bytes where
// all operands allow it.
//
// Bytes: forward 2 · size(x), backward 3 · size(x). FLOPs: 8 and 16 an element. Bound by memory: [1, 118800, 3072] in
// bf16 moves 1.46 GB forward; weights and modulations come from the first-level cache.
//
// A row is held in registers (row_deal.cuh): 3,072 elements are two packs of bf16 for each of 192 threads. Backward a
// row's threads walk a chunk of rows and keep S0 and S1 of their columns; the shares of chunks are added afterwards.
#include "core/generated/norm.h"
#include "cuda/device/any_rows.cuh"
#include "cuda/device/row_deal.cuh"
#include "cuda/device/shares.cuh"
#include "cuda/support.h"

namespace hn::cuda {
namespace {

/// What follows the normalisation; each may be missing.
struct Affine {
  AnyRows weight, bias, shift, scale;
};

/// `gain` becomes w · (1 + scale).
template <int kPackSize>
HN_DEVICE void load_gain(const AnyRow& weight, const AnyRow& scale, int64_t i, float (&gain)[kPackSize]) {
  float factor[kPackSize];
  weight.load_or(i, 1.0f, gain);
  scale.load_or(i, 0.0f, factor);
#pragma unroll
  for (int k = 0; k < kPackSize; ++k) gain[k] *= 1.0f + factor[k];
}

// --- forward -------------------------------------------------------------------------------------------------------

template <class T, int kPackSize, class D>
__global__ void __launch_bounds__(D::kBlockThreads)
    forward_kernel(Rows<T> x, Affine affine, Divider group_rows, Rows<T> y, int64_t rows, int64_t width, float eps) {
  const RowPlace<D, kPackSize> at;
  if (at.row >= rows) return;
  const T* const from = x.row(at.row);
  const float count = static_cast<float>(width);
  Held<D, kPackSize> v;
  float sum = 0, squares = 0;
  at.each(width, [&](int turn, int64_t i) {
    x.load(from, i, v[turn]);
#pragma unroll
    for (int k = 0; k < kPackSize; ++k) sum += v[turn][k];
  });
  const float mean = row_sum<D>(sum) / count;
  at.each(width, [&](int turn, int64_t i) {
    if constexpr (D::kHeld == 0) x.load(from, i, v[turn]);
#pragma unroll
    for (int k = 0; k < kPackSize; ++k) squares += (v[turn][k] - mean) * (v[turn][k] - mean);
  });
  const float r = 1.0f / sqrtf(row_sum<D>(squares) / count + eps);

  const int64_t group = group_rows.quotient(at.row);
  const AnyRow weight = affine.weight.row(0), bias = affine.bias.row(0);
  const AnyRow shift = affine.shift.row(group), scale = affine.scale.row(group);
  T* const to = y.row(at.row);
  at.each(width, [&](int turn, int64_t i) {
    if constexpr (D::kHeld == 0) x.load(from, i, v[turn]);
#pragma unroll
    for (int k = 0; k < kPackSize; ++k) v[turn][k] = (v[turn][k] - mean) * r;
    float f[kPackSize];
    if (weight) {
      weight.load(i, f);
#pragma unroll
      for (int k = 0; k < kPackSize; ++k) v[turn][k] *= f[k];
    }
    if (bias) {
      bias.load(i, f);
#pragma unroll
      for (int k = 0; k < kPackSize; ++k) v[turn][k] += f[k];
    }
    if (scale) {
      scale.load(i, f);
#pragma unroll
      for (int k = 0; k < kPackSize; ++k) v[turn][k] *= 1.0f + f[k];
    }
    if (shift) {
      shift.load(i, f);
#pragma unroll
      for (int k = 0; k < kPackSize; ++k) v[turn][k] += f[k];
    }
    y.store(to, i, v[turn]);
  });
}

// --- backward ------------------------------------------------------------------------------------------------------

/// Where gradients go; those not wanted have no data. dshift and dscale are written here only where each row of x has a
/// modulation of its own; else they come from the shares: S0 and S1 of each chunk, [chunks, 2, C] in f32.
template <class T>
struct Gradients {
  Rows<T> dx;
  bool want_x;
  AnyOut dshift, dscale;
  float* shares;
};

/// How much of dy goes into S0 and S1: all of it, but (1 + scale) · dy where a share covers rows of different scales.
template <int kPackSize>
HN_DEVICE void load_share_factor(const AnyRow& scale, bool by_row, int64_t i, float (&factor)[kPackSize]) {
  if (by_row) {
    scale.load_or(i, 0.0f, factor);
#pragma unroll
    for (int k = 0; k < kPackSize; ++k) factor[k] += 1.0f;
  } else {
#pragma unroll
    for (int k = 0; k < kPackSize; ++k) factor[k] = 1.0f;
  }
}

template <class T, int kPackSize, class D>
__global__ void __launch_bounds__(D::kBlockThreads, D::kBlocks)
    backward_kernel(Rows<T> dy, Rows<T> x, Affine affine, bool by_row, RowChunks chunks, Gradients<T> to, int64_t width,
                    float eps) {
  const RowPlace<D, kPackSize> at;
  if (at.row >= chunks.count()) return;
  const RowSpan span = chunks.span(at.row);
  const AnyRow weight = affine.weight.row(0), bias = affine.bias.row(0);
  const float count = static_cast<float>(width);
  float* const share = to.shares != nullptr ? to.shares + at.row * 2 * width : nullptr;
  Held<D, kPackSize> v, g, s0 = {}, s1 = {};

  for (int64_t row = span.begin; row < span.end; ++row) {
    const T *const x_row = x.row(row), *const dy_row = dy.row(row);
    const AnyRow scale = affine.scale.row(by_row ? row : span.group);

    // Step 1: the mean.
    float sum = 0;
    at.each(width, [&](int turn, int64_t i) {
      x.load(x_row, i, v[turn]);
      dy.load(dy_row, i, g[turn]);
#pragma unroll
      for (int k = 0; k < kPackSize; ++k) sum += v[turn][k];
    });
    const float mean = row_sum<D>(sum) / count;

    // Step 2: what lies around it, and how the gradient stands to it.
    Sums<3> sums = {};  // squares, Σ g, Σ g · (x − mean)
    at.each(width, [&](int turn, int64_t i) {
      if constexpr (D::kHeld == 0) {
        x.load(x_row, i, v[turn]);
        dy.load(dy_row, i, g[turn]);
      }
      float gain[kPackSize];
      load_gain(weight, scale, i, gain);
#pragma unroll
      for (int k = 0; k < kPackSize; ++k) {
        const float off = v[turn][k] - mean, pull = g[turn][k] * gain[k];
        sums.of[0] += off * off;
        sums.of[1] += pull;
        sums.of[2] += pull * off;
      }
    });
    sums = row_sum<D>(sums);
    const float r = 1.0f / sqrtf(sums.of[0] / count + eps);
    const float m0 = sums.of[1] / count, m1 = r * (sums.of[2] / count);

    // Step 3: dx, this row's modulation, and its part of the sums.
    T* const dx_row = to.want_x ? to.dx.row(row) : nullptr;
    at.each(width, [&](int turn, int64_t i) {
      if constexpr (D::kHeld == 0) {
        x.load(x_row, i, v[turn]);
        dy.load(dy_row, i, g[turn]);
      }
#pragma unroll
      for (int k = 0; k < kPackSize; ++k) v[turn][k] = (v[turn][k] - mean) * r;
      if (to.want_x) {
        float out[kPackSize];
        load_gain(weight, scale, i, out);
#pragma unroll
        for (int k = 0; k < kPackSize; ++k) out[k] = r * (g[turn][k] * out[k] - m0 - v[turn][k] * m1);
        to.dx.store(dx_row, i, out);
      }
      if (to.dshift) store_any(to.dshift, row * width + i, g[turn]);
      if (to.dscale) {
        float out[kPackSize], b[kPackSize];
        weight.load_or(i, 1.0f, out);
        bias.load_or(i, 0.0f, b);
#pragma unroll
        for (int k = 0; k < kPackSize; ++k) out[k] = g[turn][k] * (v[turn][k] * out[k] + b[k]);
        store_any(to.dscale, row * width + i, out);
      }
      if (share == nullptr) return;
      float factor[kPackSize];
      load_share_factor(scale, by_row, i, factor);
#pragma unroll
      for (int k = 0; k < kPackSize; ++k) {
        const float d = g[turn][k] * factor[k];
        if constexpr (D::kHeld > 0) {
          s0[turn][k] += d;
          s1[turn][k] += d * v[turn][k];
        } else {
          // Too long for registers: the share is kept in memory, where only this thread touches these elements.
          const bool first = row == span.begin;
          share[i + k] = (first ? 0.0f : share[i + k]) + d;
          share[width + i + k] = (first ? 0.0f : share[width + i + k]) + d * v[turn][k];
        }
      }
    });
  }
  if constexpr (D::kHeld > 0) {
    if (share == nullptr) return;
    at.each(width, [&](int turn, int64_t i) {
#pragma unroll
      for (int k = 0; k < kPackSize; ++k) {
        share[i + k] = s0[turn][k];
        share[width + i + k] = s1[turn][k];
      }
    });
  }
}

constexpr int kFinishThreads = 128;

/// totals: S0 and S1 of each group of rows, [groups, 2, C]. A thread takes a column. by_row: (1 + scale) is in the
/// sums.
__global__ void __launch_bounds__(kFinishThreads)
    finish_kernel(const float* totals, int64_t groups, int64_t width, bool by_row, Affine affine, AnyOut dweight,
                  AnyOut dbias, AnyOut dshift, AnyOut dscale) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kFinishThreads + threadIdx.x;
  if (i >= width) return;
  const float w = affine.weight ? affine.weight.row(0).at(i) : 1.0f;
  const float b = affine.bias ? affine.bias.row(0).at(i) : 0.0f;
  float dw = 0, db = 0;
  for (int64_t group = 0; group < groups; ++group) {
    const float s0 = totals[group * 2 * width + i], s1 = totals[group * 2 * width + width + i];
    const float factor = affine.scale && !by_row ? 1.0f + affine.scale.row(group).at(i) : 1.0f;
    db += factor * s0;
    dw += factor * s1;
    if (dshift) dshift.store(group * width + i, s0);
    if (dscale) dscale.store(group * width + i, w * s1 + b * s0);
  }
  if (dweight) dweight.store(i, dw);
  if (dbias) dbias.store(i, db);
}

/// Groups of rows that share a row of shift and scale.
int64_t groups_of(const TensorView& x, const TensorView& scale, const TensorView& shift) {
  if (scale) return scale.rows();
  if (shift) return shift.rows();
  return x.rows() > 0 ? 1 : 0;
}

}  // namespace

// --- launchers -----------------------------------------------------------------------------------------------------

HN_SUPPORTS(layer_norm, kFloats);
HN_SUPPORTS(layer_norm_backward, kFloats);

Status layer_norm(const Context& ctx, const LayerNormArgs& a) {
  const int64_t rows = a.x.rows(), width = row_width(a.x), groups = groups_of(a.x, a.scale, a.shift);
  if (rows == 0 || width == 0) return {};
  const Affine affine{AnyRows(a.weight), AnyRows(a.bias), AnyRows(a.shift), AnyRows(a.scale)};
  return with_row_deal(
      [&](auto storage, auto pack, auto deal) {
        using T = decltype(storage);
        using D = decltype(deal);
        return HN_LAUNCH((forward_kernel<T, pack(), D>), ceil_div(rows, D::kBlockRows), D::kBlockThreads, 0, ctx,
                         Rows<T>(a.x), affine, Divider(rows / groups), Rows<T>(a.y), rows, width,
                         static_cast<float>(a.eps));
      },
      a.x, a.y, a.weight, a.bias, a.shift, a.scale);
}

Status layer_norm_backward(const Context& ctx, const LayerNormBackwardArgs& a) {
  if (a.dy.dtype != a.x.dtype) return Status::missing("layer_norm_backward: dy is of another type than x");
  const int64_t rows = a.x.rows(), width = row_width(a.x), modulated = groups_of(a.x, a.scale, TensorView{});
  const bool by_row = rows > 0 && modulated == rows;
  const bool sums = a.dweight || a.dbias || (!by_row && (a.dshift || a.dscale));
  const int64_t groups = by_row ? 1 : modulated, group_rows = groups > 0 ? rows / groups : 0;
  const RowChunks chunks = sums ? RowChunks(groups, group_rows, 4) : RowChunks(groups, group_rows, 1, rows);
  float *shares = nullptr, *totals = nullptr;
  if (sums) {
    shares = ctx.workspace<float>(chunks.count() * 2 * width);
    totals = ctx.workspace<float>(groups * 2 * width);
    if (shares == nullptr || totals == nullptr) return Status::no_memory();
  }

  const Affine affine{AnyRows(a.weight), AnyRows(a.bias), AnyRows(), AnyRows(a.scale)};
  const AnyOut none, dshift(a.dshift), dscale(a.dscale);
  HN_RETURN_IF_ERROR(with_row_deal(
      [&](auto storage, auto pack, auto deal) {
        using T = decltype(storage);
        using D = decltype(deal);
        const Gradients<T> to{Rows<T>(a.dx), static_cast<bool>(a.dx), by_row ? dshift : none, by_row ? dscale : none,
                              shares};
        return HN_LAUNCH((backward_kernel<T, pack(), D>), ceil_div(chunks.count(), D::kBlockRows), D::kBlockThreads, 0,
                         ctx, Rows<T>(a.dy), Rows<T>(a.x), affine, by_row, chunks, to, width,
                         static_cast<float>(a.eps));
      },
      a.x, a.dy, a.dx, a.weight, a.bias, a.scale, a.dshift, a.dscale));
  if (!sums) return {};
  HN_RETURN_IF_ERROR(add_shares(ctx, shares, groups, chunks.per_group(), 2 * width, 2 * width, any_out(totals)));
  return HN_LAUNCH((finish_kernel), ceil_div(width, kFinishThreads), kFinishThreads, 0, ctx, totals, groups, width,
                   by_row, affine, AnyOut(a.dweight), AnyOut(a.dbias), by_row ? none : dshift, by_row ? none : dscale);
}

}  // namespace hn::cuda
