// Convolution and its gradient for the input on tensor cores: gemm_tile.cuh with rows of voxels gathered on the way in.
// conv3d_bf16.cu and conv3d_f16.cu instantiate it, one type a file.
#pragma once

#include "cuda/conv3d.h"
#include "cuda/device/conv_geometry.cuh"

namespace hn::cuda {

using ConvLarge = TileConfig<128, 256, 32, 2, 4, 4, 1>;  // 256 channels and more
using ConvTall = TileConfig<256, 128, 32, 4, 2, 4, 1>;   // 128 channels
using ConvSmall = TileConfig<64, 64, 32, 2, 2, 4, 4>;
using ConvNarrow = TileConfig<64, 64, 32, 2, 2, 4, 3>;  // single elements: they wait in registers

/// Rows of voxels: A[m, (tap, c)]. With kWide eight channels at once by cp.async; without, single elements of any
/// stride, held in registers meanwhile. Where a voxel reads is worked out once a tap, so that most blocks of K cost an
/// addition and a copy a row.
template <class T, class C, bool kWide>
class VoxelLoader {
  using Tile = SharedTile<C::kM, C::kK, Major::k>;
  static constexpr int kTurns = Tile::template kTurns<C::kThreads>;

 public:
  static constexpr Major kMajor = Major::k;
  static constexpr bool kAnyBlock = kWide;

  HN_DEVICE VoxelLoader(const ConvParams& p, const ConvPlace& place, const int4* rows)
      : p_(p), place_(place), rows_(rows), walk_(p, place, static_cast<int>(threadIdx.x) % Tile::kChunks * 8) {
    locate();
  }

  HN_DEVICE void fetch(int, T* tile) {
    Tile::template each<C::kThreads>([&](int turn, int row, int chunk) {
      const bool inside = inside_ >> turn & 1u;
      if constexpr (kWide) {
        ptx::cp_async<16>(ptx::smem_u32(tile + Tile::at(row, chunk)), from_[turn] + walk_.channel(), inside ? 16 : 0);
      } else {
        const int count = inside ? p_.channels - walk_.channel() : 0;
#pragma unroll
        for (int i = 0; i < 8; ++i) {
          held_[turn].items[i] = i < count ? from_[turn][(walk_.channel() + i) * p_.source.c] : T{};
        }
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

  /// Where this thread stands in K, in both operands: it has the same chunk of every row.
  HN_DEVICE const ConvWalk<C::kK>& walk() const { return walk_; }
  HN_DEVICE void step() {
    if (walk_.step()) locate();
  }

 private:
  HN_DEVICE void locate() {
    inside_ = 0;
    Tile::template each<C::kThreads>([&](int turn, int row, int) {
      bool inside;
      from_[turn] = source_at<T>(p_, place_, walk_, rows_[row], inside);
      inside_ |= static_cast<uint32_t>(inside) << turn;
    });
  }

  const ConvParams& p_;
  const ConvPlace& place_;
  const int4* rows_;
  ConvWalk<C::kK> walk_;
  const T* from_[kTurns];
  uint32_t inside_;
  Pack<T, 8> held_[kWide ? 1 : kTurns];
};

/// Rows of the weight: B[(tap, c), n], stored [n, tap, c]. Steps on along K, for A too: gemm_tile.cuh fetches A first.
template <class T, class C, class Voxels>
class ConvWeightLoader {
  using Tile = SharedTile<C::kN, C::kK, Major::k>;
  static constexpr int kTurns = Tile::template kTurns<C::kThreads>;

 public:
  static constexpr Major kMajor = Major::k;
  static constexpr bool kAnyBlock = Voxels::kAnyBlock;

  HN_DEVICE ConvWeightLoader(const ConvParams& p, int64_t n0, Voxels& voxels)
      : base_(static_cast<const T*>(p.weight)), voxels_(voxels) {
    const int64_t pitch = p.weight_pitch();
    Tile::template each<C::kThreads>(
        [&](int turn, int row, int) { row_[turn] = static_cast<int>(min(n0 + row, p.out_channels - 1) * pitch); });
  }

  HN_DEVICE void fetch(int, T* tile) {
    const int offset = voxels_.walk().weight_offset(), bytes = voxels_.walk().inside() ? 16 : 0;
    Tile::template each<C::kThreads>([&](int turn, int row, int chunk) {
      ptx::cp_async<16>(ptx::smem_u32(tile + Tile::at(row, chunk)), base_ + (row_[turn] + offset), bytes);
    });
    voxels_.step();
  }
  HN_DEVICE void put(T*) {}

 private:
  const T* base_;
  Voxels& voxels_;
  int row_[kTurns];  // where rows begin: a weight has fewer than 2^31 elements
};

template <class C, class T>
struct ConvSmem {
  TileSmem<T> tile;
  int4* rows;

  HN_HOST_DEVICE explicit ConvSmem(Carver& carve) : tile(tile_smem<C, T>(carve)), rows(carve.take<int4>(C::kM)) {}
};

template <class C, class T, bool kWide>
__global__ void __launch_bounds__(C::kThreads, C::kBlocksPerSm) conv_kernel(const __grid_constant__ ConvParams p) {
  HN_DYN_SMEM(base);
  Carver carve(base);
  const ConvSmem<C, T> smem(carve);
  const ConvPlace place = ConvPlace::find<C::kM>(p);
  const int64_t m0 = place.tile_m * C::kM, n0 = place.tile_n * C::kN;
  fill_voxels<C::kM, C::kThreads>(place, smem.rows);

  float acc[C::kTilesM][C::kTilesN][4];
  {
    using Voxels = VoxelLoader<T, C, kWide>;
    Voxels a(p, place, smem.rows);
    ConvWeightLoader<T, C, Voxels> b(p, n0, a);
    const int blocks = (place.k_size(p.padded_channels) + C::kK - 1) / C::kK;
    multiply_tile<C, T>(smem.tile, a, b, 0, blocks, acc);
  }
  store_tile<C>(smem.tile.staging, acc, m0, n0, place.voxels, p.out_channels,
                ConvEpilogue<T, 8>(p, place, smem.rows, m0));
}

template <class C, class T, bool kWide>
Status launch_conv(const Context& ctx, ConvParams& p) {
  const int64_t blocks = deal_blocks(p, C::kM, C::kN);
  Carver carve;
  ConvSmem<C, T>{carve};
  return HN_LAUNCH((conv_kernel<C, T, kWide>), blocks, C::kThreads, carve.bytes(), ctx, p);
}

template <class T>
Status launch_conv(const Context& ctx, ConvParams& p) {
  if (!p.wide) return launch_conv<ConvNarrow, T, false>(ctx, p);
  switch (choose_conv_tile(p, ctx.device())) {
    case ConvTile::large:
      return launch_conv<ConvLarge, T, true>(ctx, p);
    case ConvTile::tall:
      return launch_conv<ConvTall, T, true>(ctx, p);
    default:
      return launch_conv<ConvSmall, T, true>(ctx, p);
  }
}

}  // namespace hn::cuda
