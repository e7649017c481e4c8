// The innermost product: a tile of MR x NR sums held in registers.
//
// A is read row-major by broadcasts, its leading dimension known at compile time so that all rows hang on one pointer
// (14 row pointers would not fit the registers); it needs no transposing pack. B comes in panels [k][NR]. Each element
// of C is one chain of multiply-adds in the order of k, whatever the tile's rows: results do not depend on tiling.
#pragma once

#include <cstdint>

#include "cpu/kernels/simd.h"

namespace hn::cpu::HN_ISA {

// MR * NV accumulators, NV vectors of B and one broadcast share the registers: 32 in AVX-512, else 16.
#if defined(__AVX512F__)
constexpr int kMR = 14;
#elif defined(__AVX2__)
constexpr int kMR = 6;
#else
constexpr int kMR = 4;
#endif
template <class Acc>
constexpr int MR = kMR;
template <class Acc>
constexpr int NR = 2 * kLanes<Acc>;

/// c[Rows][NR] = (accumulate ? c : 0) + a[Rows][k] b[k][NR]. Lda in elements; avoid multiples of 4 KiB (the rows of A
/// would share few cache sets): a power of two plus one cache line is good.
template <class Acc, int Rows, int Lda>
[[gnu::noinline]] void micro(const Acc* __restrict a, const Acc* __restrict b, int64_t k, Acc* __restrict c,
                             int64_t ldc, bool accumulate) {
  constexpr int W = kLanes<Acc>;
  Vec<Acc> sum[Rows][2];
#pragma GCC unroll 16
  for (int i = 0; i < Rows; ++i) sum[i][0] = sum[i][1] = Vec<Acc>{};
#pragma GCC unroll 4
  for (int64_t p = 0; p < k; ++p) {
    const Vec<Acc> b0 = load<Acc>(b), b1 = load<Acc>(b + W);
#pragma GCC unroll 16
    for (int i = 0; i < Rows; ++i) {
      const Vec<Acc> x = broadcast(a[i * Lda]);
      sum[i][0] += x * b0;
      sum[i][1] += x * b1;
    }
    a += 1;
    b += 2 * W;
  }
#pragma GCC unroll 16
  for (int i = 0; i < Rows; ++i) {
    Acc* row = c + i * ldc;
    if (accumulate) {
      sum[i][0] += load<Acc>(row);
      sum[i][1] += load<Acc>(row + W);
    }
    store<Acc>(row, sum[i][0]);
    store<Acc>(row + W, sum[i][1]);
  }
}

/// The same for a number of rows known only at run time, 1 to MR.
template <class Acc, int Lda, int Rows = MR<Acc>>
inline void micro_rows(int rows, const Acc* a, const Acc* b, int64_t k, Acc* c, int64_t ldc, bool accumulate) {
  if (rows == Rows) return micro<Acc, Rows, Lda>(a, b, k, c, ldc, accumulate);
  if constexpr (Rows > 1) micro_rows<Acc, Lda, Rows - 1>(rows, a, b, k, c, ldc, accumulate);
}

/// c[m][n_panels * NR] from m rows of A and consecutive panels of B, each panel `panel_stride` elements apart.
/// A panel stays in the cache while all the rows pass it.
template <class Acc, int Lda>
inline void micro_block(const Acc* a, int64_t m, const Acc* b, int64_t panel_stride, int64_t n_panels, int64_t k,
                        Acc* c, int64_t ldc, bool accumulate) {
  for (int64_t p = 0; p < n_panels; ++p)
    for (int64_t i = 0; i < m; i += MR<Acc>) {
      const int64_t rows = m - i < MR<Acc> ? m - i : MR<Acc>;
      micro_rows<Acc, Lda>(static_cast<int>(rows), a + i * Lda, b + p * panel_stride, k, c + i * ldc + p * NR<Acc>, ldc,
                           accumulate);
    }
}

/// dst[r][c] = src[c][r] for one square of kLanes x kLanes: log2(lanes) rounds of interleaving register pairs.
template <class Acc>
inline void transpose_square(const Acc* src, int64_t ld_src, Acc* dst, int64_t ld_dst) {
  constexpr int W = kLanes<Acc>;
  VecMask<Acc> low{}, high{};
  for (int i = 0; i < W; ++i) {
    low[i] = i / 2 + (i & 1) * W;
    high[i] = W / 2 + i / 2 + (i & 1) * W;
  }
  Vec<Acc> x[W], y[W];
#pragma GCC unroll 16
  for (int i = 0; i < W; ++i) x[i] = load<Acc>(src + i * ld_src);
#pragma GCC unroll 4
  for (int round = 1; round < W; round *= 2) {
#pragma GCC unroll 8
    for (int i = 0; i < W / 2; ++i) {
      y[2 * i] = __builtin_shuffle(x[i], x[i + W / 2], low);
      y[2 * i + 1] = __builtin_shuffle(x[i], x[i + W / 2], high);
    }
#pragma GCC unroll 16
    for (int i = 0; i < W; ++i) x[i] = y[i];
  }
#pragma GCC unroll 16
  for (int i = 0; i < W; ++i) store<Acc>(dst + i * ld_dst, x[i]);
}

/// dst[c * ld_dst + r] = src[r * ld_src + c] for r < rows, c < columns; whole squares by registers, the rest one by
/// one.
template <class Acc>
inline void transpose(const Acc* src, int64_t ld_src, int64_t rows, int64_t columns, Acc* dst, int64_t ld_dst) {
  constexpr int64_t W = kLanes<Acc>;
  const int64_t square_rows = rows / W * W, square_columns = columns / W * W;
  for (int64_t c = 0; c < square_columns; c += W)
    for (int64_t r = 0; r < square_rows; r += W)
      transpose_square<Acc>(src + r * ld_src + c, ld_src, dst + c * ld_dst + r, ld_dst);
  for (int64_t c = 0; c < columns; ++c)
    for (int64_t r = c < square_columns ? square_rows : 0; r < rows; ++r) dst[c * ld_dst + r] = src[r * ld_src + c];
}

}  // namespace hn::cpu::HN_ISA
