// Tiles of 2 to 5 dimensions through shared memory and back, with each swizzle, over the edges of a tensor: what is
// inside of it comes back as it was, what is outside was zero in between and is not stored.
#include <algorithm>

#include "cuda/device/ptx_sm90.cuh"
#include "cuda/device/shared.cuh"
#include "cuda/launch.h"
#include "simt/test/suite.h"

namespace hn::simt::test {
namespace {

namespace ptx = cuda::ptx;

constexpr int kThreads = 32;  // a tile: rows of the swizzle's width
constexpr int kSizes[] = {150, 5, 3, 2, 2}, kTiles[] = {0, 3, 2, 1, 1};

/// Loads the tile at `at`, counts what is not zero, adds one to each value with ordinary writes, and stores it.
template <int kRank>
__global__ void round_trip(const __grid_constant__ cuda::TensorMap from, const __grid_constant__ cuda::TensorMap to,
                           int first, int values, int* filled) {
  HN_DYN_SMEM(base);
  HN_SHARED(uint64_t, barrier, [1]);
  auto* tile = reinterpret_cast<uint16_t*>(base);
  int at[kRank] = {first};
  for (int i = 1; i < kRank; ++i) at[i] = i == 1 ? 3 : 0;
  if (threadIdx.x == 0) {
    ptx::mbarrier_init(ptx::smem_u32(barrier), 1);
    ptx::fence_mbarrier_init();
    ptx::mbarrier_arrive_expect(ptx::smem_u32(barrier), values * 2);
    ptx::tma_load(ptx::smem_u32(tile), from, ptx::smem_u32(barrier), at);
  }
  __syncthreads();
  ptx::mbarrier_wait(ptx::smem_u32(barrier), 0);
  for (int i = static_cast<int>(threadIdx.x); i < values; i += kThreads) {
    if (tile[i] != 0) atomicAdd(filled, 1);
    tile[i] = static_cast<uint16_t>(tile[i] + 1);
  }
  ptx::fence_proxy_async();
  __syncthreads();
  if (threadIdx.x == 0) {
    ptx::tma_store(to, ptx::smem_u32(tile), at);
    ptx::tma_store_commit();
    ptx::tma_store_wait<0>();
  }
}

template <int kRank>
bool round_trips(const cuda::Context& ctx, int swizzle, int first, Status* status) {
  const int width = swizzle == 0 ? 48 : swizzle / 2;
  cuda::TensorLayout tensor{nullptr, kRank, 2, {}, {}, {}, swizzle};
  int64_t count = 1, stride = 2;
  int values = 1, inside = 1;
  for (int i = 0; i < kRank; ++i) {
    tensor.size[i] = kSizes[i];
    tensor.tile[i] = i == 0 ? width : kTiles[i];
    if (i > 0) tensor.stride[i] = stride;
    stride *= i == 0 ? kSizes[i] + 2 : kSizes[i];  // rows are padded to 16 bytes
    count *= i == 0 ? kSizes[i] + 2 : kSizes[i];
    values *= tensor.tile[i];
    const int begin = i == 0 ? std::max(first, 0) : i == 1 ? 3 : 0;
    const int end = std::min(kSizes[i], (i == 0 ? first : begin) + tensor.tile[i]);
    inside *= end - begin;
  }
  std::vector<uint16_t> x(static_cast<size_t>(count)), y(x.size());
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<uint16_t>(1 + i % 60000);
  int filled = 0;
  cuda::TensorMap from, to;
  tensor.base = x.data();
  *status = cuda::make_tensor_map(tensor, &from);
  if (!status->ok()) return false;
  tensor.base = y.data();
  *status = cuda::make_tensor_map(tensor, &to);
  if (!status->ok()) return false;
  *status = HN_LAUNCH((round_trip<kRank>), 1, kThreads, values * 2, ctx, from, to, first, values, &filled);
  int stored = 0;
  bool equal = filled == inside;
  for (size_t i = 0; i < x.size(); ++i) {
    if (y[i] == 0) continue;
    ++stored;
    equal = equal && y[i] == x[i] + 1;
  }
  return equal && stored == inside;
}

}  // namespace

Outcome tensor_maps(const cuda::Context& ctx, int) {
  for (const int swizzle : {0, 32, 64, 128}) {
    for (const int first : {-8, 0, 40, 120}) {
      Status status;
      const bool equal = round_trips<2>(ctx, swizzle, first, &status) && round_trips<3>(ctx, swizzle, first, &status) &&
                         round_trips<4>(ctx, swizzle, first, &status) && round_trips<5>(ctx, swizzle, first, &status);
      if (!equal) return {status, false};
    }
  }
  return {{}, true};
}

}  // namespace hn::simt::test
