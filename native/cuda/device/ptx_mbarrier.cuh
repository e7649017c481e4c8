// mbarriers (sm_90), 8 bytes of shared memory each, by their shared address: initialised by one thread, then
// fence_mbarrier_init and a barrier of the block. A phase is complete when all arrivals and all announced bytes have
// come; the first phase has parity 0, so that waiting for parity 1 on a fresh barrier goes through at once.
#pragma once

#include "cuda/device/words.cuh"

#if HN_HAS_SM90

#if defined(HN_SIMT)
#include "simt/kernel_api_sm90.h"
#endif

namespace hn::cuda::ptx {

HN_DEVICE void mbarrier_init(uint32_t barrier, int arrivals) {
#if defined(HN_SIMT)
  simt::mbarrier_init(barrier, arrivals);
#else
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
#endif
}

/// Makes what mbarrier_init wrote known to the async proxy.
HN_DEVICE void fence_mbarrier_init() {
#if defined(HN_SIMT)
  simt::fence_proxy_async();
#else
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
#endif
}

HN_DEVICE void mbarrier_arrive(uint32_t barrier) {
#if defined(HN_SIMT)
  simt::mbarrier_arrive(barrier, 0);
#else
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
#endif
}

/// Arrives, and announces bytes that TMA will bring in this phase.
HN_DEVICE void mbarrier_arrive_expect(uint32_t barrier, int bytes) {
#if defined(HN_SIMT)
  simt::mbarrier_arrive(barrier, bytes);
#else
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
#endif
}

/// Waits until the phase of this parity is complete. The only way to wait: the emulator must know who does.
HN_DEVICE void mbarrier_wait(uint32_t barrier, uint32_t parity) {
#if defined(HN_SIMT)
  simt::mbarrier_wait(barrier, parity);
#else
  asm volatile(
      "{\n"
      ".reg .pred complete;\n"
      "again_%=:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 complete, [%0], %1;\n"
      "@!complete bra again_%=;\n"
      "}" ::"r"(barrier),
      "r"(parity)
      : "memory");
#endif
}

/// What this thread wrote to shared memory with ordinary instructions may be read by TMA and wgmma after this fence
/// (and a barrier, where others' writes count too).
HN_DEVICE void fence_proxy_async() {
#if defined(HN_SIMT)
  simt::fence_proxy_async();
#else
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}

/// True in one lane of the warp. All 32 call it.
HN_DEVICE bool elect_one() {
#if defined(HN_SIMT)
  return simt::elect();
#else
  uint32_t elected;
  asm volatile(
      "{\n"
      ".reg .pred mine;\n"
      "elect.sync _|mine, 0xffffffff;\n"
      "selp.u32 %0, 1, 0, mine;\n"
      "}"
      : "=r"(elected));
  return elected != 0;
#endif
}

/// Registers a thread of this warpgroup may use from here on, a multiple of 8 from 24 to 240; all four warps call it.
template <int kRegisters>
HN_DEVICE void more_registers() {
  static_assert(kRegisters % 8 == 0 && kRegisters >= 24 && kRegisters <= 256);
#if !defined(HN_SIMT)
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
#endif
}
template <int kRegisters>
HN_DEVICE void fewer_registers() {
  static_assert(kRegisters % 8 == 0 && kRegisters >= 24 && kRegisters <= 256);
#if !defined(HN_SIMT)
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
#endif
}

}  // namespace hn::cuda::ptx

#endif
