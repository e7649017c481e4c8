// 16-bit tiles of a head in shared memory, and products of them on tensor cores.
//
// A tile is [rows, kWidth], kWidth 64 or 128, whatever the head's own width: what lies beyond it is zero. A row is cut
// into chunks of 16 bytes, and chunk c of row r lies in place c ^ (r % 8): the eight rows that ldmatrix reads at once,
// and the eight chunks that a quarter of a warp writes, are in different banks.
//
// Fragments are those of ptx_tensor_core.cuh. Scores come out of the first product as sums [16, 8] a warp, and go into
// the second as A operands [16, 16] without a shuffle: the two layouts are the same but for the rounding.
#pragma once

#include "cuda/device/attention_problem.cuh"
#include "cuda/device/ptx.cuh"

namespace hn::cuda::attn {

template <class T>
HN_DEVICE uint32_t pack_pair(float low, float high) {
  if constexpr (std::is_same_v<T, bf16>)
    return ptx::pack_bf16(low, high);
  else
    return ptx::pack_f16(low, high);
}

template <class T>
HN_DEVICE void mma(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  if constexpr (std::is_same_v<T, bf16>)
    ptx::mma_bf16(d, a, b0, b1);
  else
    ptx::mma_f16(d, a, b0, b1);
}

constexpr int kChunk = 8;  // elements in 16 bytes

/// Where a chunk lies, in elements from the tile's start.
template <int kWidth>
HN_DEVICE int place_of(int row, int chunk) {
  return row * kWidth + (chunk ^ row % 8) * kChunk;
}

/// Tokens [first, first + kRows) of a head; zeros from token `end` on. 16-byte copies arrive with cp.async and need its
/// wait, others at once: a barrier before the tile is read covers both.
template <int kRows, int kWidth, int kThreads, class T>
HN_DEVICE void load_tile(T* tile, const Tokens<const T>& from, int first, int end) {
  constexpr int kChunks = kWidth / kChunk, kStep = kThreads / kChunks;
  static_assert(kThreads % kChunks == 0 && kRows % kStep == 0 && kStep % 8 == 0, "the place in a row stays the same");
  const int chunk = static_cast<int>(threadIdx.x) % kChunks, row = static_cast<int>(threadIdx.x) / kChunks;
  const int col = chunk * kChunk;
  if (from.packed) {
    const int rows = col < from.width ? end - first : 0;  // beyond these an address may be anything: nothing is read
    const T* source = from.at(first + row) + col;
    const uint32_t to = ptx::smem_u32(tile + place_of<kWidth>(row, chunk));
#pragma unroll
    for (int r = 0; r < kRows; r += kStep) {
      const bool real = row + r < rows;
      ptx::cp_async<16>(to + static_cast<uint32_t>(r * kWidth * sizeof(T)), source, real ? 16 : 0);
      source += kStep * from.pitch;
    }
    return;
  }
#pragma unroll 1
  for (int r = row; r < kRows; r += kStep) {
    const bool real = first + r < end;
    const T* const source = from.at(first + r);
    Pack<T, kChunk> pack;
#pragma unroll
    for (int i = 0; i < kChunk; ++i) {
      pack.items[i] = T{0};
      if (real && col + i < from.width) pack.items[i] = source[(col + i) * from.step];
    }
    *reinterpret_cast<Pack<T, kChunk>*>(tile + place_of<kWidth>(r, chunk)) = pack;
  }
}

/// kRows rows of a tile to tokens [first, first + kRows) of a head, up to token `end`, by one warp.
template <int kRows, int kWidth, class T>
HN_DEVICE void store_rows(const T* tile, int first_row, const Tokens<T>& to, int first, int end) {
  constexpr int kChunks = kWidth / kChunk, kStep = kWarp / kChunks;
  const int chunk = lane_id() % kChunks, col = chunk * kChunk;
#pragma unroll 1
  for (int r = lane_id() / kChunks; r < kRows && first + r < end; r += kStep) {
    const auto pack = *reinterpret_cast<const Pack<T, kChunk>*>(tile + place_of<kWidth>(first_row + r, chunk));
    T* const row = to.at(first + r);
    if (to.packed) {
      if (col < to.width) *reinterpret_cast<Pack<T, kChunk>*>(row + col) = pack;
      continue;
    }
#pragma unroll
    for (int i = 0; i < kChunk; ++i) {
      if (col + i < to.width) row[(col + i) * to.step] = pack.items[i];
    }
  }
}

/// Sums of 16 rows a fragment from column fragment kFirst on, times a factor of each row, rounded into the tile from
/// `row` on.
template <int kWidth, int kFirst = 0, class T, int kFragments, int kSums>
HN_DEVICE void put_sums(T* tile, int row, const float (&sums)[kFragments][kSums][4],
                        const float (&factor)[kFragments][2]) {
  static_assert(kFirst + kWidth / 8 <= kSums);
  const int g = lane_id() / 4, c = lane_id() % 4 * 2;
#pragma unroll
  for (int m = 0; m < kFragments; ++m) {
#pragma unroll
    for (int n = 0; n < kWidth / 8; ++n) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const uint32_t pair =
            pack_pair<T>(sums[m][kFirst + n][2 * h] * factor[m][h], sums[m][kFirst + n][2 * h + 1] * factor[m][h]);
        memcpy(tile + place_of<kWidth>(row + m * 16 + h * 8 + g, n) + c, &pair, sizeof pair);
      }
    }
  }
}

// --- addresses for ldmatrix: of one lane, for the 16 × 16 elements at the tile's upper left ------------------------

/// For A operands, and transposed for B operands that lie as [depth, columns].
template <int kWidth, class T>
HN_DEVICE uint32_t row_address(const T* tile) {
  return ptx::smem_u32(tile + place_of<kWidth>(lane_id() % 16, lane_id() / 16));
}
/// For B operands that lie as [columns, depth].
template <int kWidth, class T>
HN_DEVICE uint32_t column_address(const T* tile) {
  return ptx::smem_u32(tile + place_of<kWidth>(lane_id() / 16 * 8 + lane_id() % 8, lane_id() / 8 % 2));
}
/// 16 · step elements to the right. Tiles are aligned to 1024 bytes: no bit of a chunk's number is carried into.
HN_DEVICE uint32_t across(uint32_t address, int step) { return address ^ static_cast<uint32_t>(step * 32); }
/// `rows` (a multiple of 8) further down.
template <int kWidth>
HN_DEVICE uint32_t down(uint32_t address, int rows) {
  return address + static_cast<uint32_t>(rows * kWidth * 2);
}

// --- products ------------------------------------------------------------------------------------------------------

template <int kFragments, int kColumns>
HN_DEVICE void clear(float (&s)[kFragments][kColumns][4]) {
#pragma unroll
  for (int m = 0; m < kFragments; ++m) {
#pragma unroll
    for (int n = 0; n < kColumns; ++n) s[m][n][0] = s[m][n][1] = s[m][n][2] = s[m][n][3] = 0;
  }
}

/// s += A Bᵀ: A [16 · kFragments, kWidth] at `a` (row_address), B [8 · kColumns, kWidth] at `b` (column_address).
template <class T, int kWidth, int kFragments, int kColumns>
HN_DEVICE void add_transposed(float (&s)[kFragments][kColumns][4], uint32_t a, uint32_t b) {
#pragma unroll
  for (int k = 0; k < kWidth / 16; ++k) {
    uint32_t left[kFragments][4];
#pragma unroll
    for (int m = 0; m < kFragments; ++m) ptx::ldmatrix<4>(down<kWidth>(across(a, k), m * 16), left[m]);
#pragma unroll
    for (int n = 0; n < kColumns; n += 2) {
      uint32_t right[4];
      ptx::ldmatrix<4>(down<kWidth>(across(b, k), n * 8), right);
#pragma unroll
      for (int m = 0; m < kFragments; ++m) {
        mma<T>(s[m][n], left[m], right[0], right[1]);
        mma<T>(s[m][n + 1], left[m], right[2], right[3]);
      }
    }
  }
}

/// sums += W B, from column fragment kFirst of the sums on: W from scores, rounded to T; B [8 · kColumns, kWidth] at
/// `b` (row_address).
template <class T, int kWidth, int kFirst = 0, int kFragments, int kSums, int kColumns>
HN_DEVICE void add_product(float (&sums)[kFragments][kSums][4], const float (&w)[kFragments][kColumns][4], uint32_t b) {
  static_assert(kFirst + kWidth / 8 <= kSums);
  // All of W is rounded first: it then takes half as many registers while the sums are worked on.
  uint32_t left[kColumns / 2][kFragments][4];
#pragma unroll
  for (int k = 0; k < kColumns / 2; ++k) {
#pragma unroll
    for (int m = 0; m < kFragments; ++m) {
      left[k][m][0] = pack_pair<T>(w[m][2 * k][0], w[m][2 * k][1]);
      left[k][m][1] = pack_pair<T>(w[m][2 * k][2], w[m][2 * k][3]);
      left[k][m][2] = pack_pair<T>(w[m][2 * k + 1][0], w[m][2 * k + 1][1]);
      left[k][m][3] = pack_pair<T>(w[m][2 * k + 1][2], w[m][2 * k + 1][3]);
    }
  }
#pragma unroll
  for (int k = 0; k < kColumns / 2; ++k) {
#pragma unroll
    for (int n = 0; n < kWidth / 8; n += 2) {
      uint32_t right[4];
      ptx::ldmatrix<4, true>(down<kWidth>(across(b, n / 2), k * 16), right);
#pragma unroll
      for (int m = 0; m < kFragments; ++m) {
        mma<T>(sums[m][kFirst + n], left[k][m], right[0], right[1]);
        mma<T>(sums[m][kFirst + n + 1], left[k][m], right[2], right[3]);
      }
    }
  }
}

/// Over the four lanes that share a row of a fragment.
HN_DEVICE float row_max(float v) {
  v = fmaxf(v, __shfl_xor_sync(kFullMask, v, 1));
  return fmaxf(v, __shfl_xor_sync(kFullMask, v, 2));
}
HN_DEVICE float row_sum(float v) {
  v += __shfl_xor_sync(kFullMask, v, 1);
  return v + __shfl_xor_sync(kFullMask, v, 2);
}

/// Scores that a row does not see become `hidden`. seen(m, h): the run of columns, counted from the first column here,
/// of the row at place h of fragment m.
template <int kFragments, int kColumns, class Seen>
HN_DEVICE void hide(float (&s)[kFragments][kColumns][4], float hidden, Seen&& seen) {
#pragma unroll
  for (int m = 0; m < kFragments; ++m) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const Run run = seen(m, h);
      const int begin = run.begin - lane_id() % 4 * 2, end = run.end - lane_id() % 4 * 2;
#pragma unroll
      for (int n = 0; n < kColumns; ++n) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          if (n * 8 + i < begin || n * 8 + i >= end) s[m][n][2 * h + i] = hidden;
        }
      }
    }
  }
}

}  // namespace hn::cuda::attn
