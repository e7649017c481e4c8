// The kernel that gemm_bf16.cu, gemm_f16.cu and gemm_f8.cu launch: one tile of one part of K of one matrix a block.
#pragma once

#include "cuda/gemm.h"

namespace hn::cuda {

using LargeTile = TileConfig<128, 256, 32, 2, 4, 4, 1>;
using SmallTile = TileConfig<64, 64, 32, 2, 2, 4, 4>;

/// Sums of a part of K, as they are.
class ShareEpilogue {
 public:
  struct Columns {};
  HN_DEVICE ShareEpilogue(float* shares, int64_t pitch) : shares_(shares), pitch_(pitch) {}
  HN_DEVICE Columns columns(int64_t, int) const { return {}; }
  HN_DEVICE void row(const Columns&, int64_t m, int64_t n, int, const float (&v)[8]) const {
    float* const to = shares_ + m * pitch_ + n;
#pragma unroll
    for (int k = 0; k < 8; k += 4) {
      const float part[4] = {v[k], v[k + 1], v[k + 2], v[k + 3]};
      store_pack<4>(to + k, part);
    }
  }

 private:
  float* shares_;
  int64_t pitch_;
};

/// Either of the two, so that one piece of code handles rows.
class AnyEpilogue {
 public:
  using Columns = GemmEpilogue::Columns;
  HN_DEVICE AnyEpilogue(const Gemm& g, int64_t batch, int64_t part, float* shares)
      : finished_(g.epilogue, batch),
        share_(shares + (part * g.batch + batch) * g.m * share_pitch(g.n), share_pitch(g.n)),
        shared_(shares != nullptr) {}

  /// The rows of shares are whole packs.
  HN_HOST_DEVICE static int64_t share_pitch(int64_t n) { return (n + 7) / 8 * 8; }

  HN_DEVICE Columns columns(int64_t n, int count) const { return finished_.columns(n, count); }
  HN_DEVICE void row(const Columns& c, int64_t m, int64_t n, int count, float (&v)[8]) const {
    if (shared_) {
      share_.row({}, m, n, count, v);
    } else {
      finished_.row(c, m, n, count, v);
    }
  }

 private:
  GemmEpilogue finished_;
  ShareEpilogue share_;
  bool shared_;
};

/// Where a block stands.
struct GemmPlace {
  int64_t tile_m, tile_n, batch, part;

  GemmPlace() = default;
  HN_DEVICE GemmPlace(const TileOrder& order, int64_t parts) {
    const int64_t tiles = order.tiles_m * order.tiles_n;
    int64_t rest = blockIdx.x;
    const int64_t matrix = rest / tiles;
    order.place(rest - matrix * tiles, tile_m, tile_n);
    batch = matrix / parts;
    part = matrix - batch * parts;
  }
};

struct GemmParams {
  Gemm gemm;
  TileOrder order;
  int64_t parts;
  int64_t k_split;
  float* shares;
};

inline GemmParams params_of(const GemmLaunch& l, int tile_m, int tile_n) {
  return {
      l.gemm, {ceil_div(l.gemm.m, tile_m), ceil_div(l.gemm.n, tile_n)}, l.choice.splits, l.choice.k_split, l.shares};
}
inline int64_t blocks_of(const GemmParams& p) { return p.order.tiles_m * p.order.tiles_n * p.parts * p.gemm.batch; }

template <class Loader>
HN_DEVICE Loader make_loader(const Matrix& m, int64_t batch, const Extent& extent, const AnyPtr& factors) {
  if constexpr (Loader::kTakesFactors) {
    return Loader(m, batch, extent, static_cast<const float*>(factors.data));
  } else {
    return Loader(m, batch, extent);
  }
}

template <class C, class T, class ALoader, class BLoader>
__global__ void __launch_bounds__(C::kThreads, C::kBlocksPerSm) gemm_kernel(const __grid_constant__ GemmParams p) {
  HN_DYN_SMEM(base);
  Carver carve(base);
  const auto smem = tile_smem<C, T>(carve);
  HN_SHARED(GemmPlace, place, [1]);
  const Gemm& g = p.gemm;
  float acc[C::kTilesM][C::kTilesN][4];
  {
    const GemmPlace at(p.order, p.parts);
    // Registers are short in the loop: it is looked up again after it.
    if (threadIdx.x == 0) place[0] = at;
    const int64_t k_begin = at.part * p.k_split, k_end = min(k_begin + p.k_split, g.k);
    const int k = static_cast<int>(g.k);
    ALoader a = make_loader<ALoader>(g.a, at.batch, {at.tile_m * C::kM, g.m, k}, g.k_factors);
    BLoader b = make_loader<BLoader>(g.b, at.batch, {at.tile_n * C::kN, g.n, k}, g.k_factors);
    multiply_tile<C, T>(smem, a, b, static_cast<int>(k_begin / C::kK), static_cast<int>((k_end + C::kK - 1) / C::kK),
                        acc);
  }
  __syncthreads();
  const GemmPlace& at = place[0];
  const AnyEpilogue epilogue(g, at.batch, at.part, p.shares);
  store_tile<C>(smem.staging, acc, at.tile_m * C::kM, at.tile_n * C::kN, g.m, g.n, epilogue);
}

template <class C, class T, class ALoader, class BLoader>
Status launch_gemm(const GemmLaunch& l) {
  static_assert(kSplitUnit % C::kK == 0);
  const GemmParams params = params_of(l, C::kM, C::kN);
  Carver carve;
  tile_smem<C, T>(carve);
  return HN_LAUNCH((gemm_kernel<C, T, ALoader, BLoader>), blocks_of(params), C::kThreads, carve.bytes(), l.ctx, params);
}

}  // namespace hn::cuda
