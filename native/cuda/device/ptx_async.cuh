// Shared addresses and cp.async (sm_80): copies from global to shared memory that a thread starts, commits in groups
// and waits for. Other threads may read what arrived only after the issuer waited and a barrier followed.
#pragma once

#include "cuda/device/words.cuh"

namespace hn::cuda::ptx {

/// The 32-bit address that ldmatrix, cp.async and mbarriers take.
HN_DEVICE uint32_t smem_u32(const void* p) {
#if defined(HN_SIMT)
  return simt::shared_address(p);
#else
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
#endif
}

/// Copies `src_bytes` (0 to kBytes) and fills the rest of kBytes (4, 8 or 16) with zeros. Both sides are aligned to
/// kBytes. With src_bytes = 0 nothing is read, and `src` may point anywhere in the global window, beyond an allocation
/// too: PTX copies src-size bytes, and of none there is no access that could fault. Loaders count on that at ragged
/// edges instead of choosing a valid address, which would cost two selects of a 64-bit address a copy in the innermost
/// loop. (compute-sanitizer has not looked at it yet. If it complains about addresses that are not read,
/// gemm_loaders.cuh is where they come from.) The address must still be aligned to kBytes.
template <int kBytes>
HN_DEVICE void cp_async(uint32_t dst, const void* src, int src_bytes = kBytes) {
  static_assert(kBytes == 4 || kBytes == 8 || kBytes == 16);
#if defined(HN_SIMT)
  simt::cp_async(dst, src, kBytes, src_bytes);
#else
  if constexpr (kBytes == 16) {  // .cg stays out of L1, and exists for 16 bytes only
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(dst), "l"(__cvta_generic_to_global(src)),
                 "r"(src_bytes)
                 : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(dst), "l"(__cvta_generic_to_global(src)),
                 "n"(kBytes), "r"(src_bytes)
                 : "memory");
  }
#endif
}

/// Closes the group of copies issued since the last commit.
HN_DEVICE void cp_async_commit() {
#if defined(HN_SIMT)
  simt::cp_async_commit();
#else
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

/// Waits until at most kPending of this thread's groups, the youngest, are still on their way.
template <int kPending>
HN_DEVICE void cp_async_wait() {
#if defined(HN_SIMT)
  simt::cp_async_wait(kPending);
#else
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
#endif
}

}  // namespace hn::cuda::ptx
