// C [64, 32] = A [64, K] · Bᵀ [32, K] with cp.async into two buffers, ldmatrix and mma.sync; four warps of 16 rows.
#include "cuda/device/ptx.cuh"
#include "cuda/device/shared.cuh"
#include "cuda/launch.h"
#include "simt/test/suite.h"

namespace hn::simt::test {
namespace {

namespace ptx = cuda::ptx;

constexpr int kM = 64, kN = 32, kStep = 32, kSteps = 5, kK = kStep * kSteps, kThreads = 128;
constexpr int kPitch = kStep + 8;  // values: rows lie in different banks

struct Smem {
  uint16_t *a, *b;
};
HN_HOST_DEVICE Smem layout(cuda::Carver& carve) {
  return {carve.take<uint16_t>(2 * kM * kPitch, 128), carve.take<uint16_t>(2 * kN * kPitch, 128)};
}

HN_DEVICE void load_rows(uint16_t* to, const uint16_t* from, int rows) {
  constexpr int kChunks = kStep / 8;
  for (int i = static_cast<int>(threadIdx.x); i < rows * kChunks; i += kThreads) {
    const int row = i / kChunks, chunk = i % kChunks;
    ptx::cp_async<16>(ptx::smem_u32(to + row * kPitch + chunk * 8), from + row * kK + chunk * 8);
  }
}

__global__ void gemm(const uint16_t* a, const uint16_t* b, float* c, int bug) {
  HN_DYN_SMEM(base);
  cuda::Carver carve(base);
  const Smem s = layout(carve);
  const int warp = cuda::warp_id(), lane = cuda::lane_id();
  const auto load = [&](int step) {
    load_rows(s.a + step % 2 * kM * kPitch, a + step * kStep, kM);
    load_rows(s.b + step % 2 * kN * kPitch, b + step * kStep, kN);
  };
  float sums[kN / 8][4] = {};
  load(0);
  ptx::cp_async_commit();
  for (int step = 0; step < kSteps; ++step) {
    if (step + 1 < kSteps) load(step + 1);
    ptx::cp_async_commit();
    if (bug != kNoCopyWait) ptx::cp_async_wait<1>();
    if (bug != kNoSyncAfterCopy) __syncthreads();
    const uint16_t* const ta = s.a + step % 2 * kM * kPitch;
    const uint16_t* const tb = s.b + step % 2 * kN * kPitch;
    for (int k = 0; k < kStep; k += 16) {
      uint32_t fa[4];
      ptx::ldmatrix<4>(ptx::smem_u32(ta + (warp * 16 + lane % 16) * kPitch + k + lane / 16 * 8), fa);
      for (int n = 0; n < kN / 8; ++n) {
        // Plain reads here, so that both ways into shared memory are watched.
        const uint16_t* row = tb + (n * 8 + lane / 4) * kPitch + k + lane % 4 * 2;
        if (bug == kDynamicOutOfBounds && n == kN / 8 - 1 && step % 2 == 1) row += kPitch;
        uint32_t fb[2];
        for (int i = 0; i < 2; ++i) fb[i] = row[8 * i] | static_cast<uint32_t>(row[8 * i + 1]) << 16;
        ptx::mma_bf16(sums[n], fa, fb[0], fb[1]);
      }
    }
    if (bug != kNoTrailingSync) __syncthreads();
  }
  for (int n = 0; n < kN / 8; ++n) {
    for (int i = 0; i < 4; ++i) {
      c[(warp * 16 + lane / 4 + i / 2 * 8) * kN + n * 8 + lane % 4 * 2 + i % 2] = sums[n][i];
    }
  }
}

}  // namespace

Outcome tile(const cuda::Context& ctx, int bug) {
  std::vector<uint16_t> a(kM * kK), b(kN * kK);
  std::vector<float> c(kM * kN);
  for (size_t i = 0; i < a.size(); ++i) a[i] = bf16_of(small_number(static_cast<uint32_t>(i)));
  for (size_t i = 0; i < b.size(); ++i) b[i] = bf16_of(small_number(static_cast<uint32_t>(i) + 99999));
  cuda::Carver carve;
  layout(carve);
  const Status status = HN_LAUNCH((gemm), 1, kThreads, carve.bytes(), ctx, a.data(), b.data(), c.data(), bug);
  bool equal = true;
  for (int m = 0; m < kM; ++m) {
    for (int n = 0; n < kN; ++n) {
      int sum = 0;
      for (uint32_t k = 0; k < kK; ++k) {
        sum +=
            small_number(static_cast<uint32_t>(m) * kK + k) * small_number(static_cast<uint32_t>(n) * kK + k + 99999);
      }
      equal = equal && c[m * kN + n] == static_cast<float>(sum);
    }
  }
  return {status, equal};
}

}  // namespace hn::simt::test
