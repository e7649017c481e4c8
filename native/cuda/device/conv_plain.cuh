// Products of f32 tiles on FMA units, for convolutions: 128 × 64 of the result a block, each thread 8 × 4. Operands lie
// in shared memory as [k][index], so that a thread reads what it multiplies in packs of 16 bytes.
//
// A loader, one object a thread: fetch(kb) reads its part of k-block kb into registers, put(tile) stores it; all
// threads together fill the tile, zeros where there is nothing. Two tiles: one is filled while the other is multiplied.
#pragma once

#include "cuda/device/shared.cuh"
#include "cuda/device/storage.cuh"

namespace hn::cuda {

struct PlainTile {
  static constexpr int kM = 128, kN = 64, kK = 16;
  static constexpr int kThreads = 256;
  static constexpr int kThreadM = 8, kThreadN = 4;
  static constexpr int kPad = 4;    // so that stores of a column meet few bank conflicts
  static constexpr int kFold = 16;  // k-blocks summed in one chain: a chain over all of K would round too often

  /// First row and column of this thread.
  HN_DEVICE static int row() { return static_cast<int>(threadIdx.x) / (kN / kThreadN) * kThreadM; }
  HN_DEVICE static int column() { return static_cast<int>(threadIdx.x) % (kN / kThreadN) * kThreadN; }
};

/// The operand's tile of one k-block.
template <int kExtent>
using PlainOperand = float[PlainTile::kK][kExtent + PlainTile::kPad];

/// Four neighbours held until `put`: along K they become a column of the tile, across it a row.
struct PlainChunk {
  float v[4];

  template <class Operand>
  HN_DEVICE void put_column(Operand& tile, int k, int index) const {
#pragma unroll
    for (int i = 0; i < 4; ++i) tile[k + i][index] = v[i];
  }
  template <class Operand>
  HN_DEVICE void put_row(Operand& tile, int k, int index) const {
    store_pack<4>(&tile[k][index], v);
  }
  /// `count` elements `step` apart, zeros for the rest; with `wide` they are one pack.
  HN_DEVICE void load(const float* from, int count, int64_t step, bool wide) {
    if (wide && count >= 4) {
      load_pack<4>(from, v);
      return;
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) v[i] = i < count ? from[i * step] : 0.0f;
  }
};

/// total += chain; chain = 0.
HN_DEVICE void fold_plain(float (&chain)[PlainTile::kThreadM][PlainTile::kThreadN],
                          float (&total)[PlainTile::kThreadM][PlainTile::kThreadN]) {
#pragma unroll
  for (int i = 0; i < PlainTile::kThreadM; ++i) {
#pragma unroll
    for (int j = 0; j < PlainTile::kThreadN; ++j) {
      total[i][j] += chain[i][j];
      chain[i][j] = 0;
    }
  }
}

/// total = A B over k-blocks [begin, end). All threads of the block call it.
template <class ALoader, class BLoader>
HN_DEVICE void multiply_plain(ALoader& a, BLoader& b, int begin, int end,
                              float (&total)[PlainTile::kThreadM][PlainTile::kThreadN]) {
  using P = PlainTile;
  HN_SHARED(PlainOperand<P::kM>, a_tile, [2]);
  HN_SHARED(PlainOperand<P::kN>, b_tile, [2]);
  float chain[P::kThreadM][P::kThreadN] = {};
#pragma unroll
  for (int i = 0; i < P::kThreadM; ++i) {
#pragma unroll
    for (int j = 0; j < P::kThreadN; ++j) total[i][j] = 0;
  }
  if (begin >= end) return;
  a.fetch(begin);
  b.fetch(begin);
  a.put(a_tile[0]);
  b.put(b_tile[0]);
  __syncthreads();

  const int row = P::row(), column = P::column();
  int read = 0;
#pragma unroll 1
  for (int kb = begin; kb < end; ++kb) {
    const bool more = kb + 1 < end;
    if (more) {
      a.fetch(kb + 1);
      b.fetch(kb + 1);
    }
#pragma unroll
    for (int k = 0; k < P::kK; ++k) {
      float low[4], high[4], right[4];
      load_pack<4>(&a_tile[read][k][row], low);
      load_pack<4>(&a_tile[read][k][row + 4], high);
      load_pack<4>(&b_tile[read][k][column], right);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int j = 0; j < P::kThreadN; ++j) {
          chain[i][j] += low[i] * right[j];
          chain[i + 4][j] += high[i] * right[j];
        }
      }
    }
    if (!more || (kb - begin) % P::kFold == P::kFold - 1) fold_plain(chain, total);
    // The other tile was read in the turn before, and a barrier has passed since.
    if (more) {
      a.put(a_tile[1 - read]);
      b.put(b_tile[1 - read]);
    }
    __syncthreads();
    read = 1 - read;
  }
}

/// Hands this thread's sums of the tile at (m0, n0) to the epilogue (gemm_tile.cuh, four columns wide).
template <class Epilogue>
HN_DEVICE void store_plain(float (&acc)[PlainTile::kThreadM][PlainTile::kThreadN], int64_t m0, int64_t n0,
                           int64_t m_size, int64_t n_size, const Epilogue& epilogue) {
  const int64_t n = n0 + PlainTile::column();
  if (n >= n_size) return;
  const int count = static_cast<int>(min(n_size - n, int64_t{PlainTile::kThreadN}));
  const auto columns = epilogue.columns(n, count);
#pragma unroll
  for (int i = 0; i < PlainTile::kThreadM; ++i) {
    const int64_t m = m0 + PlainTile::row() + i;
    if (m < m_size) epilogue.row(columns, m, n, count, acc[i]);
  }
}

}  // namespace hn::cuda
