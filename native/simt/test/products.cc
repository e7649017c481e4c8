// wgmma in its forms: A from shared memory and from registers, B K-major and MN-major, with each swizzle and without,
// bf16 and f16. The operands are laid out by hand, as the instruction's manual describes them.
#include "cuda/device/ptx_sm90.cuh"
#include "cuda/device/shared.cuh"
#include "cuda/launch.h"
#include "simt/test/suite.h"

namespace hn::simt::test {
namespace {

namespace ptx = cuda::ptx;

constexpr int kM = 64, kN = 64, kK = 16, kThreads = 128;

/// Byte of value (row, k) in K-major order: rows of `swizzle` bytes of which 32 are used, or cores of 8 rows × 16
/// bytes.
HN_DEVICE int k_major(int row, int k, int swizzle) {
  if (swizzle == 0) return row / 8 * 256 + k / 8 * 128 + row % 8 * 16 + k % 8 * 2;
  const int byte = row * swizzle + 2 * k;
  return byte ^ ((byte / 8) & (swizzle - 16));
}
/// The same of B in MN-major order: rows of k, each of `swizzle` bytes of columns, such blocks one after the other.
HN_DEVICE int mn_major(int row, int k, int swizzle) {
  if (swizzle == 0) return k / 8 * 1024 + row / 8 * 128 + k % 8 * 16 + row % 8 * 2;
  const int per_block = swizzle / 2;
  const int byte = row / per_block * kK * swizzle + k * swizzle + row % per_block * 2;
  return byte ^ ((byte / 8) & (swizzle - 16));
}

template <ptx::WgmmaType kType, bool kRegisters, bool kTransposeB>
__global__ void multiply(const uint16_t* a, const uint16_t* b, float* c, int swizzle) {
  HN_DYN_SMEM(base);
  cuda::Carver carve(base);
  unsigned char* const sa = carve.take<unsigned char>(kM * 128, 1024);
  unsigned char* const sb = carve.take<unsigned char>(kN * 128, 1024);
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;
  for (int i = thread; i < kM * kK; i += kThreads) {
    const int row = i / kK, k = i % kK;
    *reinterpret_cast<uint16_t*>(sa + k_major(row, k, swizzle)) = a[i];
    *reinterpret_cast<uint16_t*>(sb + (kTransposeB ? mn_major(row, k, swizzle) : k_major(row, k, swizzle))) = b[i];
  }
  ptx::fence_proxy_async();
  __syncthreads();
  const uint64_t da = swizzle == 0 ? ptx::wgmma_descriptor(ptx::smem_u32(sa), 128, 256, 0)
                                   : ptx::wgmma_descriptor(ptx::smem_u32(sa), 16, 8 * swizzle, swizzle);
  uint64_t db;
  if constexpr (kTransposeB) {
    db = swizzle == 0 ? ptx::wgmma_descriptor(ptx::smem_u32(sb), 1024, 128, 0)
                      : ptx::wgmma_descriptor(ptx::smem_u32(sb), kK * swizzle, 8 * swizzle, swizzle);
  } else {
    db = swizzle == 0 ? ptx::wgmma_descriptor(ptx::smem_u32(sb), 128, 256, 0)
                      : ptx::wgmma_descriptor(ptx::smem_u32(sb), 16, 8 * swizzle, swizzle);
  }
  float sums[kN / 2];
  ptx::wgmma_fence();
  if constexpr (kRegisters) {
    uint32_t fragment[4];
    for (int i = 0; i < 4; ++i) {
      const uint16_t* from = a + (warp * 16 + lane / 4 + i % 2 * 8) * kK + lane % 4 * 2 + i / 2 * 8;
      fragment[i] = from[0] | static_cast<uint32_t>(from[1]) << 16;
    }
    ptx::wgmma<kN, kType, kTransposeB>(sums, fragment, db, false);
    ptx::wgmma_commit();
    // The second one adds to sums that are still in flight.
    ptx::wgmma<kN, kType, kTransposeB>(sums, fragment, db, true);
    ptx::wgmma_commit();
    ptx::wgmma_wait<1>();
    ptx::wgmma_wait<0>();
  } else {
    ptx::wgmma<kN, kType, kTransposeB>(sums, da, db, false);
    ptx::wgmma<kN, kType, kTransposeB>(sums, da, db, true);
    ptx::wgmma_commit();
    ptx::wgmma_wait<0>();
  }
  for (int i = 0; i < kN / 2; ++i) {
    c[(warp * 16 + lane / 4 + i / 2 % 2 * 8) * kN + i / 4 * 8 + lane % 4 * 2 + i % 2] = sums[i];
  }
}

template <ptx::WgmmaType kType, bool kRegisters, bool kTransposeB>
bool right(const cuda::Context& ctx, Status* status) {
  std::vector<uint16_t> a(kM * kK), b(kN * kK);
  for (uint32_t i = 0; i < a.size(); ++i) {
    const int x = small_number(i), y = small_number(i + 4321);
    a[i] = kType == ptx::WgmmaType::bf16 ? bf16_of(x) : f16_of(x);
    b[i] = kType == ptx::WgmmaType::bf16 ? bf16_of(y) : f16_of(y);
  }
  for (const int swizzle : {0, 32, 64, 128}) {
    std::vector<float> c(kM * kN);
    *status = HN_LAUNCH((multiply<kType, kRegisters, kTransposeB>), 1, kThreads, (kM + kN) * 128, ctx, a.data(),
                        b.data(), c.data(), swizzle);
    if (!status->ok()) return false;
    for (uint32_t m = 0; m < kM; ++m) {
      for (uint32_t n = 0; n < kN; ++n) {
        int sum = 0;
        for (uint32_t k = 0; k < kK; ++k) sum += 2 * small_number(m * kK + k) * small_number(n * kK + k + 4321);
        if (c[m * kN + n] != static_cast<float>(sum)) return false;
      }
    }
  }
  return true;
}

}  // namespace

Outcome products(const cuda::Context& ctx, int) {
  using ptx::WgmmaType;
  Status status;
  const bool equal =
      right<WgmmaType::bf16, false, false>(ctx, &status) && right<WgmmaType::bf16, false, true>(ctx, &status) &&
      right<WgmmaType::bf16, true, false>(ctx, &status) && right<WgmmaType::bf16, true, true>(ctx, &status) &&
      right<WgmmaType::f16, false, false>(ctx, &status) && right<WgmmaType::f16, true, true>(ctx, &status);
  return {status, equal};
}

}  // namespace hn::simt::test
