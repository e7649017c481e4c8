// Products of a few rows with a weight, C[m, n] = Σ_k A[m, k] B[n, k] for M ≤ 8: modulation layers, time embeddings.
// The math around it: gemm.h.
//
// A: f32, bf16 or f16; B: these or f8e4m3, stored [N, K]; rows of both aligned to packs of eight, any M ≤ 8, N, K.
// Bytes: size(B), read once; A comes from cache. FLOPs: 2 M N K. Bound by memory: a [18432, 3072] weight in bf16 is
// 113 MB. At M = 8 the conversions and products of a thread take about as long as the weight's bytes.
//
// A warp takes two rows of B, eight neighbours a lane at a time, and sums over its lanes in a fixed order.
#include "cuda/device/reduce.cuh"
#include "cuda/gemm.h"

namespace hn::cuda {
namespace {

constexpr int kThreads = 128, kWarps = kThreads / kWarp;
constexpr int kWarpRows = 2;                  // of B
constexpr int kColumns = kWarps * kWarpRows;  // of C, a block
static_assert(kColumns == 8, "what an epilogue takes");

template <class TA, class TB, int kM>
__global__ void __launch_bounds__(kThreads, 1) gemm_vector_kernel(const __grid_constant__ Gemm g) {
  HN_SHARED(float, sums, [kM][kColumns]);
  const int64_t n0 = static_cast<int64_t>(blockIdx.x) * kColumns;
  const TB* b[kWarpRows];
  const TA* a[kM];
  // Rows beyond the last repeat it; their sums are not stored.
#pragma unroll
  for (int r = 0; r < kWarpRows; ++r) {
    b[r] = static_cast<const TB*>(g.b.data) + g.b.rows(min(n0 + warp_id() * kWarpRows + r, g.n - 1));
  }
#pragma unroll
  for (int m = 0; m < kM; ++m) {
    a[m] = static_cast<const TA*>(g.a.data) + g.a.rows(min(static_cast<int64_t>(m), g.m - 1));
  }

  float acc[kWarpRows][kM] = {};
  const auto add = [&](int m, const float(&w)[kWarpRows][8], const float(&x)[8]) {
#pragma unroll
    for (int r = 0; r < kWarpRows; ++r) {
#pragma unroll
      for (int i = 0; i < 8; ++i) acc[r][m] += w[r][i] * x[i];
    }
  };
  const int k_size = static_cast<int>(g.k), k_packs = k_size / 8 * 8;
#pragma unroll(kM == 1 ? 4 : 1)
  for (int k = lane_id() * 8; k < k_packs; k += kWarp * 8) {
    float w[kWarpRows][8], x[8];
#pragma unroll
    for (int r = 0; r < kWarpRows; ++r) detail::load_eight<TB>(b[r], k, w[r]);
#pragma unroll
    for (int m = 0; m < kM; ++m) {
      detail::load_eight<TA>(a[m], k, x);
      add(m, w, x);
    }
  }
  if (const int k = k_packs + lane_id(); k < k_size) {
#pragma unroll
    for (int r = 0; r < kWarpRows; ++r) {
#pragma unroll
      for (int m = 0; m < kM; ++m) acc[r][m] += widen(b[r][k]) * widen(a[m][k]);
    }
  }

#pragma unroll
  for (int r = 0; r < kWarpRows; ++r) {
#pragma unroll
    for (int m = 0; m < kM; ++m) {
      const float sum = warp_sum(acc[r][m]);
      if (lane_id() == 0) sums[m][warp_id() * kWarpRows + r] = sum;
    }
  }
  __syncthreads();
  const int m = static_cast<int>(threadIdx.x);
  if (m >= g.m) return;
  const int count = static_cast<int>(min(g.n - n0, int64_t{kColumns}));
  float v[8];
#pragma unroll
  for (int i = 0; i < 8; ++i) v[i] = sums[m][i];
  const GemmEpilogue epilogue(g.epilogue, 0);
  epilogue.row(epilogue.columns(n0, count), m, n0, count, v);
}

/// Calls fn for the least number of rows that M fits.
template <class Fn>
Status with_rows(int64_t m, Fn&& fn) {
  if (m == 1) return fn(std::integral_constant<int, 1>{});
  if (m <= 4) return fn(std::integral_constant<int, 4>{});
  return fn(std::integral_constant<int, 8>{});
}

bool of_eights(const Matrix& m) {
  return m.step == 1 && m.alignment >= std::min<int>(16, 8 * info(m.dtype).block_bytes);
}

}  // namespace

bool fits_gemm_vector(const Gemm& g) {
  const auto half_or_float = [](DType t) { return t == DType::f32 || t == DType::bf16 || t == DType::f16; };
  return g.batch == 1 && g.m <= kMaxVectorRows && g.a_major == Major::k && g.b_major == Major::k &&
         half_or_float(g.a.dtype) && (half_or_float(g.b.dtype) || g.b.dtype == DType::f8e4m3) && of_eights(g.a) &&
         of_eights(g.b) && !g.k_factors.data;
}

Status gemm_vector(const Context& ctx, const Gemm& g) {
  return with_storage(g.a.dtype, [&](auto a) {
    return with_types<float, bf16, f16, f8e4m3>(g.b.dtype, [&](auto b) {
      return with_rows(g.m, [&](auto rows) {
        return HN_LAUNCH((gemm_vector_kernel<decltype(a), decltype(b), rows()>), ceil_div(g.n, kColumns), kThreads, 0,
                         ctx, g);
      });
    });
  });
}

}  // namespace hn::cuda
