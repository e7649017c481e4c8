// Causal sums: row q adds up the values of keys 0 to q, a key a lane, masked as attention does. What is wrong here is
// wrong by value only: the reference must tell.
#include "cuda/device/words.cuh"
#include "cuda/launch.h"
#include "simt/test/suite.h"

namespace hn::simt::test {
namespace {

constexpr int kLength = 75, kThreads = 64;

__global__ void attend(const float* v, float* y, int bug) {
  const int lane = cuda::lane_id();
  for (int q = cuda::warp_id(); q < kLength; q += kThreads / cuda::kWarp) {
    float sum = 0;
    for (int first = 0; first < kLength; first += cuda::kWarp) {
      const int key = first + lane;
      const bool masked = bug == kWrongMask ? key >= q : key > q;
      sum += masked || key >= kLength ? 0.0f : v[key];
    }
    for (int distance = 16; distance > 0; distance /= 2) sum += __shfl_xor_sync(cuda::kFullMask, sum, distance);
    if (lane == 0) y[q] = sum;
  }
}

}  // namespace

Outcome causal(const cuda::Context& ctx, int bug) {
  std::vector<float> v(kLength), y(kLength);
  for (uint32_t i = 0; i < kLength; ++i) v[i] = static_cast<float>(small_number(i));
  const Status status = HN_LAUNCH((attend), 1, kThreads, 0, ctx, v.data(), y.data(), bug);
  float sum = 0;
  bool equal = true;
  for (int q = 0; q < kLength; ++q) {
    sum += v[q];
    equal = equal && y[q] == sum;
  }
  return {status, equal};
}

}  // namespace hn::simt::test
