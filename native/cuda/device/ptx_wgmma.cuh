// wgmma (sm_90a): d[64, N] += A[64, 16] · B[16, N] in bf16 or f16 with f32 sums, by the four warps of a warpgroup
// together. Asynchronous: wgmma_fence before the first, then products, wgmma_commit, and wgmma_wait before the sums,
// the registers of A or the shared memory of A and B are touched again.
//
// Thread t of the warpgroup, with g = t % 32 / 4 and c = 2 · (t % 4), holds d[4 · j + i] =
// (16 · (t / 32) + g + 8 · (i / 2), 8 · j + c + i % 2), and of A in registers what mma.sync's m16n8k16 takes.
#pragma once

#include "cuda/device/ptx_wgmma_shapes.cuh"
#include "cuda/device/words.cuh"

#if defined(HN_SIMT)
#include "simt/kernel_api_sm90.h"
#endif

namespace hn::cuda::ptx {

enum class WgmmaType { bf16, f16 };

}  // namespace hn::cuda::ptx

#if HN_HAS_SM90

namespace hn::cuda::ptx {

/// A matrix in shared memory. K-major (8 values of k in 16 bytes): `stride` bytes from 8 rows to the next 8; `leading`
/// from 8 values of k to the next 8, without a swizzle only. MN-major (B with kTranspose: rows of 8 columns in 16
/// bytes): with a swizzle `stride` from 8 values of k to the next 8, `leading` from one swizzle's width of columns to
/// the next; without, the other way round. The start is aligned to 16 bytes, the tile it lies in to 8 times the
/// swizzle.
HN_DEVICE uint64_t wgmma_descriptor(uint32_t start, int leading, int stride, int swizzle) {
  const uint64_t mode = swizzle == 128 ? 1 : swizzle == 64 ? 2 : swizzle == 32 ? 3 : 0;
  const auto field = [](uint32_t bytes) { return static_cast<uint64_t>((bytes & 0x3ffffu) >> 4); };
  return field(start) | field(static_cast<uint32_t>(leading)) << 16 | field(static_cast<uint32_t>(stride)) << 32 |
         mode << 62;
}

/// Registers that earlier instructions wrote are ready for the wgmma that follow.
HN_DEVICE void wgmma_fence() {
#if !defined(HN_SIMT)
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#endif
}

HN_DEVICE void wgmma_commit() {
#if defined(HN_SIMT)
  simt::wgmma_commit();
#else
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
#endif
}

template <int kPending>
HN_DEVICE void wgmma_wait() {
#if defined(HN_SIMT)
  simt::wgmma_wait(kPending);
#else
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
#endif
}

/// A and B from shared memory. Without `accumulate` the sums start at zero.
template <int kColumns, WgmmaType kType, bool kTransposeB = false>
HN_DEVICE void wgmma(float (&d)[kColumns / 2], uint64_t a, uint64_t b, bool accumulate) {
#if defined(HN_SIMT)
  simt::wgmma({d, kColumns, a, nullptr, b, accumulate, kTransposeB,
               kType == WgmmaType::bf16 ? simt::Half::bf16 : simt::Half::f16});
#else
  WgmmaShape<kColumns>::template from_shared<kType == WgmmaType::bf16, kTransposeB>(d, a, b, accumulate);
#endif
}

/// A from registers.
template <int kColumns, WgmmaType kType, bool kTransposeB = false>
HN_DEVICE void wgmma(float (&d)[kColumns / 2], const uint32_t (&a)[4], uint64_t b, bool accumulate) {
#if defined(HN_SIMT)
  simt::wgmma(
      {d, kColumns, 0, a, b, accumulate, kTransposeB, kType == WgmmaType::bf16 ? simt::Half::bf16 : simt::Half::f16});
#else
  WgmmaShape<kColumns>::template from_registers<kType == WgmmaType::bf16, kTransposeB>(d, a, b, accumulate);
#endif
}

}  // namespace hn::cuda::ptx

#endif
