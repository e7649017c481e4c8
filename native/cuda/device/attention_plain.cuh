// Tiles of attention by plain multiply-adds in f32, for heads of any width and type.
//
// 256 threads work on a tile of 64 rows by 64 columns: thread (y, x) of 16 × 16 has rows 4 y … 4 y + 3 and columns
// 4 x … 4 x + 3 of the scores, and the same rows of the sums. Operands go through shared memory in slabs, turned round
// where that makes four neighbours one access.
#pragma once

#include "cuda/device/attention_problem.cuh"
#include "cuda/device/shared.cuh"

namespace hn::cuda::attn {

constexpr int kPlainThreads = 256, kPlainTile = 64, kPlainSide = 16, kPlainEach = 4;
constexpr int kSlabDepth = 32;             // of a head's width that scores are made of at a time
constexpr int kTurnedLd = kPlainTile + 4;  // whole packs of 16 bytes, and other banks for the next row
constexpr int kSlabFloats = 8192;

struct PlainSmem {
  float* slab;           // operands of the product under way
  float* weights;        // [columns][rows]
  float *added, *delta;  // of the columns

  HN_HOST_DEVICE explicit PlainSmem(Carver& carve)
      : slab(carve.take<float>(kSlabFloats)),
        weights(carve.take<float>(kPlainTile * kTurnedLd)),
        added(carve.take<float>(kPlainTile)),
        delta(carve.take<float>(kPlainTile)) {}
};

HN_DEVICE int plain_row() { return static_cast<int>(threadIdx.x) / kPlainSide * kPlainEach; }
HN_DEVICE int plain_col() { return static_cast<int>(threadIdx.x) % kPlainSide * kPlainEach; }

/// Element `i` of a token, or zero where there is none.
template <class T>
HN_DEVICE float element(const Tokens<const T>& from, int token, int end, int i) {
  return token < end && i < from.width ? widen(from.at(token)[i * from.step]) : 0.0f;
}

/// to[d][r] = element depth + d of token first + r. Eight elements by four tokens a warp: whole sectors on one side,
/// all banks on the other.
template <class T>
HN_DEVICE void load_turned(float* to, const Tokens<const T>& from, int first, int end, int depth) {
  constexpr int kPatches = kSlabDepth / 8;  // along the head
#pragma unroll 4
  for (int patch = warp_id(); patch < kPatches * (kPlainTile / 4); patch += kPlainThreads / kWarp) {
    const int d = patch % kPatches * 8 + lane_id() % 8, r = patch / kPatches * 4 + lane_id() / 8;
    to[d * kTurnedLd + r] = element(from, first + r, end, depth + d);
  }
}

/// s = rows · columnsᵀ, from tokens `row` and `col` on. All threads of the block; begins with a barrier.
template <class T>
HN_DEVICE void make_scores(float (&s)[kPlainEach][kPlainEach], const Tokens<const T>& rows, int row, int row_end,
                           const Tokens<const T>& cols, int col, int col_end, float* slab) {
  float *const a = slab, *const b = slab + kSlabDepth * kTurnedLd;
  static_assert(2 * kSlabDepth * kTurnedLd <= kSlabFloats);
#pragma unroll
  for (int i = 0; i < kPlainEach; ++i) {
#pragma unroll
    for (int j = 0; j < kPlainEach; ++j) s[i][j] = 0;
  }
  __syncthreads();
  for (int depth = 0; depth < rows.width; depth += kSlabDepth) {
    load_turned(a, rows, row, row_end, depth);
    load_turned(b, cols, col, col_end, depth);
    __syncthreads();
#pragma unroll 4
    for (int d = 0; d < kSlabDepth; ++d) {
      float x[kPlainEach], y[kPlainEach];
      load_pack<kPlainEach>(a + d * kTurnedLd + plain_row(), x);
      load_pack<kPlainEach>(b + d * kTurnedLd + plain_col(), y);
#pragma unroll
      for (int i = 0; i < kPlainEach; ++i) {
#pragma unroll
        for (int j = 0; j < kPlainEach; ++j) s[i][j] += x[i] * y[j];
      }
    }
    __syncthreads();
  }
}

/// Makes scores the weights of a product to come.
HN_DEVICE void put_weights(float* weights, const float (&s)[kPlainEach][kPlainEach]) {
#pragma unroll
  for (int j = 0; j < kPlainEach; ++j) {
    const float column[kPlainEach] = {s[0][j], s[1][j], s[2][j], s[3][j]};
    store_pack<kPlainEach>(weights + (plain_col() + j) * kTurnedLd + plain_row(), column);
  }
}

/// Of kWidth elements of a head, those of this thread: q-th group of four.
HN_DEVICE int plain_element(int q) { return q * kPlainTile + plain_col(); }

template <int kWidth>
using PlainSums = float[kPlainEach][kWidth / kPlainSide];

/// sums += weights · columns, elements [chunk, chunk + kWidth) of tokens from `col` on. All threads; begins with a
/// barrier.
template <int kWidth, class T>
HN_DEVICE void add_weighted(PlainSums<kWidth>& sums, const float* weights, const Tokens<const T>& cols, int col,
                            int col_end, int chunk, float* slab) {
  constexpr int kAtOnce = kSlabFloats / kWidth < kPlainTile ? kSlabFloats / kWidth : kPlainTile;
  for (int c = 0; c < kPlainTile && col + c < col_end; c += kAtOnce) {
    __syncthreads();
#pragma unroll 4
    for (int i = static_cast<int>(threadIdx.x); i < kAtOnce * kWidth; i += kPlainThreads) {
      slab[i] = element(cols, col + c + i / kWidth, col_end, chunk + i % kWidth);
    }
    __syncthreads();
#pragma unroll 2
    for (int k = 0; k < kAtOnce; ++k) {
      float w[kPlainEach];
      load_pack<kPlainEach>(weights + (c + k) * kTurnedLd + plain_row(), w);
#pragma unroll
      for (int q = 0; q < kWidth / kPlainTile; ++q) {
        float x[kPlainEach];
        load_pack<kPlainEach>(slab + k * kWidth + plain_element(q), x);
#pragma unroll
        for (int i = 0; i < kPlainEach; ++i) {
#pragma unroll
          for (int j = 0; j < kPlainEach; ++j) sums[i][q * kPlainEach + j] += w[i] * x[j];
        }
      }
    }
  }
}

/// Elements [chunk, chunk + kWidth) of this thread's rows, times a factor each.
template <int kWidth, class T>
HN_DEVICE void store_plain(const PlainSums<kWidth>& sums, const float (&factor)[kPlainEach], const Tokens<T>& to,
                           int first, int end, int chunk) {
#pragma unroll
  for (int q = 0; q < kWidth / kPlainTile; ++q) {
#pragma unroll
    for (int j = 0; j < kPlainEach; ++j) {
      const int at = chunk + plain_element(q) + j;
      if (at >= to.width) continue;
#pragma unroll
      for (int i = 0; i < kPlainEach; ++i) {
        const int token = first + plain_row() + i;
        if (token < end) to.at(token)[at * to.step] = narrow<T>(sums[i][q * kPlainEach + j] * factor[i]);
      }
    }
  }
}

/// What each of this thread's rows sees, counted from the segment's first column.
template <bool kKeysAreRows>
HN_DEVICE void plain_runs(const Problem& p, const Tile& tile, Run (&runs)[kPlainEach]) {
#pragma unroll
  for (int i = 0; i < kPlainEach; ++i) {
    const int row = min(tile.first + plain_row() + i, tile.segment.rows - 1);
    runs[i] = columns_seen<kKeysAreRows>(p, tile.segment, row);
  }
}
HN_DEVICE bool sees(const Run& run, int col) { return col >= run.begin && col < run.end; }

}  // namespace hn::cuda::attn
