// The norm of rows, read in packs: shuffles, then partial sums of the warps through static shared memory; a block does
// several rows.
#include <cmath>

#include "cuda/device/shared.cuh"
#include "cuda/launch.h"
#include "simt/test/suite.h"

namespace hn::simt::test {
namespace {

constexpr int kRows = 6, kWidth = 300, kThreads = 128, kWarps = kThreads / 32;

__global__ void norm(const float* x, float* y, int bug) {
  HN_SHARED(float, partial, [kWarps]);
  HN_SHARED(float, swap, [kThreads]);
  const int warp = cuda::warp_id(), lane = cuda::lane_id(), thread = static_cast<int>(threadIdx.x);
  for (int row = static_cast<int>(blockIdx.x); row < kRows; row += static_cast<int>(gridDim.x)) {
    const float* const from = x + row * kWidth + (bug == kGlobalOutOfBounds ? kWidth : bug == kMisaligned ? 1 : 0);
    float sum = 0;
    for (int i = 4 * thread; i < kWidth; i += 4 * kThreads) {
      const float4 v = *reinterpret_cast<const float4*>(from + i);
      sum += v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w;
    }
    // Neighbours exchange their sums through shared memory, the rest is done with shuffles.
    swap[thread] = sum;
    if (bug != kNoSyncWarp) __syncwarp();
    sum += swap[thread ^ 1];
    __syncwarp();
    for (int distance = 2; distance < 32; distance *= 2) sum += __shfl_xor_sync(cuda::kFullMask, sum, distance);
    if (lane == 0) partial[warp + (bug == kStaticOutOfBounds ? 1 : 0)] = sum;
    if (bug != kNoSyncAfterWrite) __syncthreads();
    sum = 0;
    for (int w = 0; w < kWarps; ++w) sum += partial[w];
    y[row * kWidth + thread] = sum;
    if (bug != kNoSyncBeforeWrite) __syncthreads();  // the next row writes `partial` again
  }
}

}  // namespace

Outcome rows(const cuda::Context& ctx, int bug) {
  std::vector<float> x(kRows * kWidth), y(kRows * kWidth);
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(small_number(static_cast<uint32_t>(i)));
  const Status status = HN_LAUNCH((norm), 2, kThreads, 0, ctx, x.data(), y.data(), bug);
  bool equal = true;
  for (int row = 0; row < kRows; ++row) {
    float sum = 0;
    for (int i = 0; i < kWidth; ++i) sum += x[row * kWidth + i] * x[row * kWidth + i];
    for (int i = 0; i < kThreads; ++i) equal = equal && y[row * kWidth + i] == sum;
  }
  return {status, equal};
}

}  // namespace hn::simt::test
