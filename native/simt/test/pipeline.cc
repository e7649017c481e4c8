// C [64, 64] = A [64, K] · Bᵀ [64, K]: a warp brings tiles with TMA, a warpgroup doubles those of A in place with
// ordinary writes and multiplies them with wgmma; full and empty barriers between the two, and K runs over the end of
// the tensors.
#include "cuda/device/ptx_sm90.cuh"
#include "cuda/device/shared.cuh"
#include "cuda/launch.h"
#include "simt/test/suite.h"

namespace hn::simt::test {
namespace {

namespace ptx = cuda::ptx;

constexpr int kTile = 64, kK = 408, kSteps = (kK + kTile - 1) / kTile, kStages = 2;
constexpr int kConsumers = 128, kThreads = kConsumers + 32, kTileBytes = kTile * kTile * 2;

struct Smem {
  uint16_t *a, *b;
  uint64_t *full, *empty;
};
HN_HOST_DEVICE Smem layout(cuda::Carver& carve) {
  return {carve.take<uint16_t>(kStages * kTile * kTile, 1024), carve.take<uint16_t>(kStages * kTile * kTile, 1024),
          carve.take<uint64_t>(kStages), carve.take<uint64_t>(kStages)};
}

HN_DEVICE void produce(const cuda::TensorMap& a, const cuda::TensorMap& b, const Smem& s, int bug) {
  for (int step = 0; step < kSteps; ++step) {
    const int stage = step % kStages, parity = step / kStages % 2;
    const uint32_t full = ptx::smem_u32(s.full + stage), empty = ptx::smem_u32(s.empty + stage);
    const int waited = bug == kWrongParity ? parity : parity ^ 1;
    if (bug != kNoEmptyWait) ptx::mbarrier_wait(empty, static_cast<uint32_t>(waited));
    ptx::mbarrier_arrive_expect(full, 2 * kTileBytes + (bug == kWrongExpect ? 16 : 0));
    ptx::tma_load(ptx::smem_u32(s.a + stage * kTile * kTile), a, full, {step * kTile, 0});
    ptx::tma_load(ptx::smem_u32(s.b + stage * kTile * kTile), b, full, {step * kTile, 0});
  }
}

/// Twice the value: one more in the exponent of a bf16 that is not zero.
HN_DEVICE void double_tile(uint16_t* tile) {
  for (int i = static_cast<int>(threadIdx.x); i < kTile * kTile; i += kConsumers) {
    if ((tile[i] & 0x7fffu) != 0) tile[i] = static_cast<uint16_t>(tile[i] + 0x80u);
  }
}

HN_DEVICE void consume(const Smem& s, float* c, int bug) {
  float sums[kTile / 2];
  for (int step = 0; step < kSteps; ++step) {
    const int stage = step % kStages, parity = step / kStages % 2;
    const uint32_t empty = ptx::smem_u32(s.empty + stage);
    if (bug != kNoFullWait) ptx::mbarrier_wait(ptx::smem_u32(s.full + stage), static_cast<uint32_t>(parity));
    double_tile(s.a + stage * kTile * kTile);
    if (bug != kNoProxyFence) ptx::fence_proxy_async();
    ptx::named_barrier_sync(1, kConsumers);
    const uint32_t a = ptx::smem_u32(s.a + stage * kTile * kTile), b = ptx::smem_u32(s.b + stage * kTile * kTile);
    ptx::wgmma_fence();
    for (int k = 0; k < kTile; k += 16) {
      const uint64_t da =
          ptx::wgmma_descriptor(a + static_cast<uint32_t>(2 * k), 16, bug == kWrongDescriptorStride ? 512 : 1024, 128);
      const uint64_t db = ptx::wgmma_descriptor(b + static_cast<uint32_t>(2 * k), 16, 1024, 128);
      ptx::wgmma<kTile, ptx::WgmmaType::bf16>(sums, da, db, step > 0 || k > 0);
    }
    ptx::wgmma_commit();
    if (bug == kArriveBeforeWgmmaWait) ptx::mbarrier_arrive(empty);
    if (bug != kNoWgmmaWait) ptx::wgmma_wait<0>();
    if (bug != kArriveBeforeWgmmaWait) ptx::mbarrier_arrive(empty);
  }
  const int warp = cuda::warp_id(), lane = cuda::lane_id();
  for (int i = 0; i < kTile / 2; ++i) {
    c[(warp * 16 + lane / 4 + i / 2 % 2 * 8) * kTile + i / 4 * 8 + lane % 4 * 2 + i % 2] = sums[i];
  }
  if (bug == kNoWgmmaWait) ptx::wgmma_wait<0>();
}

__global__ void gemm(const __grid_constant__ cuda::TensorMap a, const __grid_constant__ cuda::TensorMap b, float* c,
                     int bug) {
  HN_DYN_SMEM(base);
  cuda::Carver carve(base);
  const Smem s = layout(carve);
  if (threadIdx.x == 0) {
    for (int i = 0; i < kStages; ++i) {
      ptx::mbarrier_init(ptx::smem_u32(s.full + i), 1);
      ptx::mbarrier_init(ptx::smem_u32(s.empty + i), kConsumers + (bug == kWrongArrivalCount ? 1 : 0));
    }
    ptx::fence_mbarrier_init();
  }
  __syncthreads();
  if (threadIdx.x < kConsumers) {
    consume(s, c, bug);
  } else if (ptx::elect_one()) {
    produce(a, b, s, bug);
  }
}

}  // namespace

Outcome pipeline(const cuda::Context& ctx, int bug) {
  std::vector<uint16_t> a(kTile * kK), b(kTile * kK);
  std::vector<float> c(kTile * kTile);
  for (size_t i = 0; i < a.size(); ++i) a[i] = bf16_of(small_number(static_cast<uint32_t>(i)));
  for (size_t i = 0; i < b.size(); ++i) b[i] = bf16_of(small_number(static_cast<uint32_t>(i) + 99999));
  cuda::TensorMap maps[2];
  for (int i = 0; i < 2; ++i) {
    const cuda::TensorLayout tensor = {
        i == 0 ? a.data() : b.data(), 2, 2, {kK, kTile}, {0, kK * 2}, {kTile, kTile}, 128};
    if (Status status = cuda::make_tensor_map(tensor, &maps[i]); !status.ok()) return {status, false};
  }
  cuda::Carver carve;
  layout(carve);
  const Status status = HN_LAUNCH((gemm), 1, kThreads, carve.bytes(), ctx, maps[0], maps[1], c.data(), bug);
  bool equal = true;
  for (uint32_t m = 0; m < kTile; ++m) {
    for (uint32_t n = 0; n < kTile; ++n) {
      int sum = 0;
      for (uint32_t k = 0; k < kK; ++k) sum += 2 * small_number(m * kK + k) * small_number(n * kK + k + 99999);
      equal = equal && c[m * kTile + n] == static_cast<float>(sum);
    }
  }
  return {status, equal};
}

}  // namespace hn::simt::test
