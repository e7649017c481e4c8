// Matrix products with products and sums in f32: for f32 operands, whose results TF32 would spoil, and for operands of
// two types or with factors along K that no other kernel takes. The math around it: gemm.h.
//
// A and B of any float types, each stored along K or across it, any strides and sizes. A kernel for f32 in packs of 16
// bytes, one for everything else, element by element.
// Bytes: size(A) + size(B) + size(C), FLOPs: 2 M N K. Bound by the FMA units: a tile of 64 × 128 × 16, a thread has 4 ×
// 8 sums, reads 12 values from shared memory for 32 products. The next k-block is on its way in registers meanwhile.
#include "cuda/device/gemm_kernel.cuh"

namespace hn::cuda {
namespace {

constexpr int kM = 64, kN = 128, kK = 16, kThreads = 256;
static_assert(kSplitUnit % kK == 0);

/// A k-block of an operand in shared memory: [kK][kExtent], the indices of M or N in groups of four.
template <int kExtent, bool kPairs>
struct PlainTile {
  // A thread reads two neighbouring groups of B. The even groups stand first and the odd ones after, so that sixteen
  // threads read from different banks.
  static constexpr int kOdd = kExtent / 2 + 4;
  static constexpr int kPitch = kPairs ? kExtent + 12 : kExtent + 4;
  static constexpr int kFloats = kK * kPitch;

  HN_DEVICE static int at(int k, int index) {
    if constexpr (!kPairs) return k * kPitch + index;
    const int group = index / 4;
    return k * kPitch + group / 2 * 4 + (group % 2 == 0 ? 0 : kOdd) + index % 4;
  }
};

/// Brings an operand's k-blocks by way of registers, four neighbours in memory at a time.
template <int kExtent, bool kPairs, Major kMajor, bool kPacked>
class PlainLoader {
  using Tile = PlainTile<kExtent, kPairs>;
  static constexpr int kGroups = kExtent * kK / 4, kTurns = kGroups / kThreads;
  static constexpr int kPerRow = (kMajor == Major::k ? kK : kExtent) / 4;
  static_assert(kGroups % kThreads == 0);

 public:
  HN_DEVICE PlainLoader(const Matrix& m, int64_t batch, int64_t mn0, int64_t mn_size, int64_t k_end,
                        const AnyPtr& factors)
      : m_(m), factors_(factors), base_(m.batch(batch)), mn0_(mn0), mn_size_(mn_size), k_end_(k_end) {}

  HN_DEVICE void fetch(int64_t k0) {
    each([&](int turn, int row, int column) {
      const int64_t r = (kMajor == Major::k ? mn0_ : k0) + row, c = (kMajor == Major::k ? k0 : mn0_) + column;
      const int64_t rows = kMajor == Major::k ? mn_size_ : k_end_, columns = kMajor == Major::k ? k_end_ : mn_size_;
      const int count = r < rows ? static_cast<int>(min(max(columns - c, int64_t{0}), int64_t{4})) : 0;
      read(r, c, count, held_[turn]);
    });
  }

  HN_DEVICE void put(float* tile) const {
    each([&](int turn, int row, int column) {
      const float(&v)[4] = held_[turn];
      if constexpr (kMajor == Major::k) {
#pragma unroll
        for (int i = 0; i < 4; ++i) tile[Tile::at(column + i, row)] = v[i];
      } else {
        store_pack<4>(tile + Tile::at(row, column), v);
      }
    });
  }

 private:
  template <class Fn>
  HN_DEVICE static void each(Fn&& fn) {
#pragma unroll
    for (int turn = 0; turn < kTurns; ++turn) {
      const int group = static_cast<int>(threadIdx.x) + turn * kThreads;
      fn(turn, group / kPerRow, group % kPerRow * 4);
    }
  }

  HN_DEVICE void read(int64_t r, int64_t c, int count, float (&v)[4]) const {
    const int64_t at = count > 0 ? base_ + m_.rows(r) + c * m_.step : 0;
    if constexpr (kPacked) {
      const float* const from = static_cast<const float*>(m_.data) + at;
      if (count == 4) return load_pack<4>(from, v);
#pragma unroll
      for (int i = 0; i < 4; ++i) v[i] = i < count ? from[i] : 0.0f;
    } else {
      with_any_float(m_.dtype, [&](auto t) {
        const auto* const from = static_cast<const decltype(t)*>(m_.data) + at;
#pragma unroll
        for (int i = 0; i < 4; ++i) v[i] = i < count ? static_cast<float>(widen(from[i * m_.step])) : 0.0f;
      });
      if (!factors_) return;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if (i < count) v[i] *= factors_.load(kMajor == Major::k ? c + i : r);
      }
    }
  }

  const Matrix& m_;
  const AnyPtr factors_;
  int64_t base_, mn0_, mn_size_, k_end_;
  float held_[kTurns][4];
};

template <Major kA, Major kB, bool kPacked>
__global__ void __launch_bounds__(kThreads, 2) gemm_plain_kernel(const __grid_constant__ GemmParams p) {
  using TileA = PlainTile<kM, false>;
  using TileB = PlainTile<kN, true>;
  HN_SHARED(float, a_tiles, [2][TileA::kFloats]);
  HN_SHARED(float, b_tiles, [2][TileB::kFloats]);
  const Gemm& g = p.gemm;
  const GemmPlace at(p.order, p.parts);
  const int64_t m0 = at.tile_m * kM, n0 = at.tile_n * kN;
  const int64_t k_begin = at.part * p.k_split, k_end = min(k_begin + p.k_split, g.k);
  const int row = static_cast<int>(threadIdx.x) / (kN / 8) * 4, column = static_cast<int>(threadIdx.x) % (kN / 8) * 8;

  PlainLoader<kM, false, kA, kPacked> a(g.a, at.batch, m0, g.m, k_end, AnyPtr());
  PlainLoader<kN, true, kB, kPacked> b(g.b, at.batch, n0, g.n, k_end, g.k_factors);
  float acc[4][8] = {};
  a.fetch(k_begin);
  b.fetch(k_begin);
  a.put(a_tiles[0]);
  b.put(b_tiles[0]);
  __syncthreads();
  int stage = 0;
#pragma unroll 1
  for (int64_t k0 = k_begin; k0 < k_end; k0 += kK, stage ^= 1) {
    const bool more = k0 + kK < k_end;
    if (more) {
      a.fetch(k0 + kK);
      b.fetch(k0 + kK);
    }
    const float *const a_tile = a_tiles[stage], *const b_tile = b_tiles[stage];
#pragma unroll
    for (int k = 0; k < kK; ++k) {
      float x[4], low[4], high[4];
      load_pack<4>(a_tile + TileA::at(k, row), x);
      load_pack<4>(b_tile + TileB::at(k, column), low);
      load_pack<4>(b_tile + TileB::at(k, column + 4), high);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          acc[i][j] += x[i] * low[j];
          acc[i][j + 4] += x[i] * high[j];
        }
      }
    }
    if (more) {
      // Into the tile that everybody had read before the last barrier.
      a.put(a_tiles[stage ^ 1]);
      b.put(b_tiles[stage ^ 1]);
    }
    __syncthreads();
  }

  const int64_t n = n0 + column;
  const int count = g.n - n < 8 ? static_cast<int>(g.n - n) : 8;
  if (count <= 0) return;
  const AnyEpilogue epilogue(g, at.batch, at.part, p.shares);
  const auto columns = epilogue.columns(n, count);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int64_t m = m0 + row + i;
    if (m < g.m) epilogue.row(columns, m, n, count, acc[i]);
  }
}

template <Major kA, Major kB, bool kPacked>
Status launch(const GemmLaunch& l) {
  const GemmParams params = params_of(l, kM, kN);
  return HN_LAUNCH((gemm_plain_kernel<kA, kB, kPacked>), blocks_of(params), kThreads, 0, l.ctx, params);
}

template <Major kA, Major kB>
Status launch(const GemmLaunch& l) {
  const auto packed = [](const Matrix& m) { return m.dtype == DType::f32 && m.alignment >= 16 && m.step == 1; };
  const bool all = packed(l.gemm.a) && packed(l.gemm.b) && !l.gemm.k_factors.data;
  return all ? launch<kA, kB, true>(l) : launch<kA, kB, false>(l);
}

}  // namespace

Status gemm_plain(const GemmLaunch& l) {
  const bool a_rows = l.gemm.a_major == Major::k, b_rows = l.gemm.b_major == Major::k;
  if (a_rows) return b_rows ? launch<Major::k, Major::k>(l) : launch<Major::k, Major::mn>(l);
  return b_rows ? launch<Major::mn, Major::k>(l) : launch<Major::mn, Major::mn>(l);
}

}  // namespace hn::cuda
