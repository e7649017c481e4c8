// The gradient of a convolution for its weight on tensor cores: gemm_tile.cuh with K = voxels, both operands stored
// across K. conv3d_bf16.cu and conv3d_f16.cu instantiate it, one type a file.
#pragma once

#include "cuda/device/conv_gradient_geometry.cuh"

namespace hn::cuda {

using ConvGradientLarge = TileConfig<128, 256, 32, 2, 4, 4, 1>;
using ConvGradientSmall = TileConfig<64, 64, 32, 2, 2, 4, 4>;
using ConvGradientNarrow = TileConfig<64, 64, 32, 2, 2, 4, 3>;  // single elements: they wait in registers

/// A[m, v] = dy[v, m].
template <class T, class C, bool kWide>
class ConvDyLoader {
  using Tile = SharedTile<C::kM, C::kK, Major::mn>;
  static constexpr int kTurns = Tile::template kTurns<C::kThreads>;

 public:
  static constexpr Major kMajor = Major::mn;
  static constexpr bool kAnyBlock = kWide;

  HN_DEVICE ConvDyLoader(const ConvGradientParams& p, int64_t m0) : p_(p) {
    const int64_t m = m0 + static_cast<int>(threadIdx.x) % Tile::kChunks * 8;
    count_ = static_cast<int>(min(max(p.m - m, int64_t{0}), int64_t{8}));
    from_ = static_cast<const T*>(p.dy) + (count_ > 0 ? m : 0);
  }

  HN_DEVICE void fetch(int kb, T* tile) {
    Tile::template each<C::kThreads>([&](int turn, int row, int chunk) {
      const int v = kb * C::kK + row, count = v < p_.voxels ? count_ : 0;
      const T* const from = from_ + min(v, p_.voxels - 1) * p_.m;
      if constexpr (kWide) {
        ptx::cp_async<16>(ptx::smem_u32(tile + Tile::at(row, chunk)), from, count > 0 ? 16 : 0);
      } else {
#pragma unroll
        for (int i = 0; i < 8; ++i) held_[turn].items[i] = i < count ? from[i] : T{};
      }
    });
  }

  HN_DEVICE void put(T* tile) {
    if constexpr (!kWide) {
      Tile::template each<C::kThreads>([&](int turn, int row, int chunk) {
        *reinterpret_cast<Pack<T, 8>*>(tile + Tile::at(row, chunk)) = held_[turn];
      });
    }
  }

 private:
  const ConvGradientParams& p_;
  const T* from_;
  int count_;
  Pack<T, 8> held_[kWide ? 1 : kTurns];
};

/// B[v, (tap, c)] = x[position(v, tap), c].
template <class T, class C, bool kWide>
class ConvXLoader {
  using Tile = SharedTile<C::kN, C::kK, Major::mn>;
  static constexpr int kTurns = Tile::template kTurns<C::kThreads>;

 public:
  static constexpr Major kMajor = Major::mn;
  static constexpr bool kAnyBlock = kWide;

  HN_DEVICE ConvXLoader(const ConvGradientParams& p, int64_t n0)
      : p_(p), column_(p, n0 + static_cast<int>(threadIdx.x) % Tile::kChunks * 8) {}

  HN_DEVICE void fetch(int kb, T* tile) {
    Tile::template each<C::kThreads>([&](int turn, int row, int chunk) {
      bool inside;
      const T* const from = column_.at(p_, kb * C::kK + row, inside);
      if constexpr (kWide) {
        ptx::cp_async<16>(ptx::smem_u32(tile + Tile::at(row, chunk)), from, inside ? 16 : 0);
      } else {
        const int count = inside ? p_.channels - column_.channel() : 0;
#pragma unroll
        for (int i = 0; i < 8; ++i) held_[turn].items[i] = i < count ? from[i * p_.x.c] : T{};
      }
    });
  }

  HN_DEVICE void put(T* tile) {
    if constexpr (!kWide) {
      Tile::template each<C::kThreads>([&](int turn, int row, int chunk) {
        *reinterpret_cast<Pack<T, 8>*>(tile + Tile::at(row, chunk)) = held_[turn];
      });
    }
  }

 private:
  const ConvGradientParams& p_;
  const ConvColumn<T> column_;
  Pack<T, 8> held_[kWide ? 1 : kTurns];
};

template <class C, class T, bool kWide>
__global__ void __launch_bounds__(C::kThreads, C::kBlocksPerSm)
    conv_gradient_kernel(const __grid_constant__ ConvGradientParams p) {
  HN_DYN_SMEM(base);
  Carver carve(base);
  const auto smem = tile_smem<C, T>(carve);
  const ConvGradientPlace place(p, C::kM, C::kN);
  const int64_t m0 = place.tile_m * C::kM, n0 = place.tile_n * C::kN;
  int begin, end;
  place.range<C::kK>(p, begin, end);

  float acc[C::kTilesM][C::kTilesN][4];
  {
    ConvDyLoader<T, C, kWide> a(p, m0);
    ConvXLoader<T, C, kWide> b(p, n0);
    multiply_tile<C, T>(smem, a, b, begin, end, acc);
  }
  store_tile<C>(smem.staging, acc, m0, n0, p.m, static_cast<int64_t>(p.taps()) * p.padded_channels,
                ConvGradientEpilogue<8>(p, place.part));
}

template <class C, class T, bool kWide>
Status launch_conv_gradient(const Context& ctx, const ConvGradientParams& p) {
  Carver carve;
  tile_smem<C, T>(carve);
  return HN_LAUNCH((conv_gradient_kernel<C, T, kWide>), conv_gradient_blocks(p, C::kM, C::kN), C::kThreads,
                   carve.bytes(), ctx, p);
}

template <class T>
Status launch_conv_gradient(const Context& ctx, const ConvGradientParams& p) {
  if (!p.wide) return launch_conv_gradient<ConvGradientNarrow, T, false>(ctx, p);
  // Half a tile's width or height wasted is about what the small tile's lower rate costs.
  const bool large = p.m > 64 && static_cast<int64_t>(p.taps()) * p.padded_channels > 128;
  return large ? launch_conv_gradient<ConvGradientLarge, T, true>(ctx, p)
               : launch_conv_gradient<ConvGradientSmall, T, true>(ctx, p);
}

}  // namespace hn::cuda
