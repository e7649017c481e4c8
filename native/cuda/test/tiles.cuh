// TMA: tiles of 2 to 5 dimensions with each swizzle, over the edges of a tensor. What a load leaves in shared memory is
// compared byte by byte, zeros from outside and the order of the swizzle included; so is what a store leaves in the
// tensor.
#pragma once

#include <array>

#include "cuda/device/ptx_sm90.cuh"
#include "cuda/device/shared.cuh"
#include "cuda/test/suite.h"

namespace hn::cuda::test {

/// Where the 16 bytes number `chunk` of a row lie, when rows of `swizzle` bytes stand one after the other.
HN_HOST_DEVICE int swizzled_chunk(int row, int chunk, int swizzle) {
  if (swizzle == 128) return chunk ^ row % 8;
  if (swizzle == 64) return chunk ^ row / 2 % 4;
  if (swizzle == 32) return chunk ^ row / 4 % 2;
  return chunk;
}

constexpr int kTileThreads = 64, kRowBytes = 304;
constexpr int kTileRows[] = {3, 2, 2, 2};  // of the second dimension and on
constexpr int kSizes[] = {5, 3, 2, 2};
constexpr int kCorner[] = {3, -1, 1, 0};

struct TileSmem {
  unsigned char* tile;
  uint64_t* barrier;
};
HN_HOST_DEVICE TileSmem tile_smem(Carver& carve, int bytes) {
  return {carve.take<unsigned char>(bytes, 1024), carve.take<uint64_t>(1)};
}

template <int kRank>
struct Corner {
  int at[kRank];
};

template <int kRank>
__global__ void load_kernel(const __grid_constant__ TensorMap map, Corner<kRank> corner, int bytes, uint8_t* out) {
#if HN_HAS_SM90
  HN_DYN_SMEM(base);
  Carver carve(base);
  const TileSmem smem = tile_smem(carve, bytes);
  const uint32_t barrier = ptx::smem_u32(smem.barrier);
  if (threadIdx.x == 0) {
    ptx::prefetch_tensor_map(map);
    ptx::mbarrier_init(barrier, 1);
    ptx::fence_mbarrier_init();
    ptx::mbarrier_arrive_expect(barrier, bytes);
    ptx::tma_load(ptx::smem_u32(smem.tile), map, barrier, corner.at);
  }
  __syncthreads();
  ptx::mbarrier_wait(barrier, 0);
  for (int i = static_cast<int>(threadIdx.x); i < bytes; i += kTileThreads) out[i] = smem.tile[i];
#endif
}

/// The same shared memory is stored twice, with other contents the second time.
template <int kRank>
__global__ void store_kernel(const __grid_constant__ TensorMap first, const __grid_constant__ TensorMap second,
                             Corner<kRank> corner, int bytes, const uint8_t* in) {
#if HN_HAS_SM90
  HN_DYN_SMEM(base);
  Carver carve(base);
  unsigned char* const tile = tile_smem(carve, bytes).tile;
  const int thread = static_cast<int>(threadIdx.x);
  for (int i = thread; i < bytes; i += kTileThreads) tile[i] = in[i];
  ptx::fence_proxy_async();
  __syncthreads();
  if (thread == 0) {
    ptx::tma_store(first, ptx::smem_u32(tile), corner.at);
    ptx::tma_store_commit();
    ptx::tma_store_wait<0, true>();
  }
  __syncthreads();
  for (int i = thread; i < bytes; i += kTileThreads) tile[i] = static_cast<unsigned char>(in[i] ^ 0x5a);
  ptx::fence_proxy_async();
  __syncthreads();
  if (thread == 0) {
    ptx::tma_store(second, ptx::smem_u32(tile), corner.at);
    ptx::tma_store_commit();
    ptx::tma_store_wait<0>();
  }
#endif
}

/// A tensor, a tile of it, and for each byte of the tile the byte of the tensor, or -1 outside.
template <int kRank>
struct Tiling {
  TensorLayout tensor{nullptr, kRank, 0, {}, {}, {}, 0};
  Corner<kRank> corner;
  int64_t bytes = kRowBytes;
  std::vector<int64_t> source;

  Tiling(int element_bytes, int swizzle, int first) {
    const int row_bytes = swizzle == 0 ? 96 : swizzle;
    tensor.element_bytes = element_bytes;
    tensor.swizzle = swizzle;
    tensor.size[0] = 300 / element_bytes;
    tensor.tile[0] = row_bytes / element_bytes;
    corner.at[0] = first;
    int rows = 1;
    for (int i = 1; i < kRank; ++i) {
      tensor.size[i] = kSizes[i - 1];
      tensor.tile[i] = kTileRows[i - 1];
      tensor.stride[i] = bytes;
      corner.at[i] = kCorner[i - 1];
      bytes *= tensor.size[i];
      rows *= tensor.tile[i];
    }
    source.assign(static_cast<size_t>(rows) * row_bytes, -1);
    for (int row = 0; row < rows; ++row) {
      for (int byte = 0; byte < row_bytes; ++byte) {
        const int chunk = swizzled_chunk(row, byte / 16, swizzle);
        source[row * row_bytes + chunk * 16 + byte % 16] = place_of(row, byte);
      }
    }
  }

  size_t tile_bytes() const { return source.size(); }

 private:
  int64_t place_of(int row, int byte) const {
    const int64_t column = corner.at[0] + byte / tensor.element_bytes;
    if (column < 0 || column >= tensor.size[0]) return -1;
    int64_t place = column * tensor.element_bytes + byte % tensor.element_bytes;
    for (int i = 1; i < kRank; ++i) {
      const int64_t at = corner.at[i] + row % tensor.tile[i];
      if (at < 0 || at >= tensor.size[i]) return -1;
      place += at * tensor.stride[i];
      row /= tensor.tile[i];
    }
    return place;
  }
};

template <int kRank>
void test_tile(Suite& suite, int element_bytes, int swizzle, int first) {
  Tiling<kRank> tiling(element_bytes, swizzle, first);
  const std::string name = std::to_string(kRank) + "d-" + std::to_string(element_bytes) + "bytes-swizzle" +
                           std::to_string(swizzle) + "-at" + std::to_string(first);
  std::vector<uint8_t> in, tile_in;
  for (int64_t i = 0; i < tiling.bytes; ++i) in.push_back(static_cast<uint8_t>(1 + random_bits(i, 40) % 255));
  for (size_t i = 0; i < tiling.tile_bytes(); ++i) tile_in.push_back(static_cast<uint8_t>(random_bits(i, 41)));
  const Buffer<uint8_t> from(in), tile(tiling.tile_bytes()), stores(tile_in), one(in.size()), two(in.size());
  TensorMap map, first_map, second_map;
  const auto describe = [&](const Buffer<uint8_t>& buffer, TensorMap* to) {
    tiling.tensor.base = buffer.data();
    return suite.launched(name, make_tensor_map(tiling.tensor, to));
  };
  if (!describe(from, &map) || !describe(one, &first_map) || !describe(two, &second_map)) return;
  const auto bytes = static_cast<int>(tiling.tile_bytes());
  Carver carve;
  tile_smem(carve, bytes);

  std::vector<uint8_t> loaded, stored(in.size()), again(in.size());
  for (size_t i = 0; i < tiling.tile_bytes(); ++i) {
    const int64_t place = tiling.source[i];
    loaded.push_back(place < 0 ? uint8_t{0} : in[place]);
    if (place < 0) continue;
    stored[place] = tile_in[i];
    again[place] = static_cast<uint8_t>(tile_in[i] ^ 0x5a);
  }
  if (suite.launched(name, HN_LAUNCH((load_kernel<kRank>), 1, kTileThreads, carve.bytes(), suite.ctx, map,
                                     tiling.corner, bytes, tile.data())))
    suite.exact("tma_load-" + name, tile.read(), loaded);
  if (suite.launched(name, HN_LAUNCH((store_kernel<kRank>), 1, kTileThreads, carve.bytes(), suite.ctx, first_map,
                                     second_map, tiling.corner, bytes, stores.data()))) {
    suite.exact("tma_store-" + name, one.read(), stored);
    suite.exact("tma_store-again-" + name, two.read(), again);
  }
}

inline void test_tiles(Suite& suite) {
  for (const int swizzle : {0, 32, 64, 128}) {
    for (const int element_bytes : {2, 4}) {
      for (const int first : {-7, 0, 33, 300 / element_bytes - 5}) {
        test_tile<2>(suite, element_bytes, swizzle, first);
        test_tile<3>(suite, element_bytes, swizzle, first);
        test_tile<4>(suite, element_bytes, swizzle, first);
        test_tile<5>(suite, element_bytes, swizzle, first);
      }
    }
  }
}

}  // namespace hn::cuda::test
