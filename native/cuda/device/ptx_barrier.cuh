// Barriers of a part of the block, by number: 0 is __syncthreads, 1 to 15 are free. `threads` is a multiple of 32, the
// same at every call of one round.
#pragma once

#include "cuda/device/words.cuh"

namespace hn::cuda::ptx {

/// Arrives and waits for the others.
HN_DEVICE void named_barrier_sync(int id, int threads) {
#if defined(HN_SIMT)
  simt::barrier_sync(id, threads);
#else
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
#endif
}

/// Arrives and goes on.
HN_DEVICE void named_barrier_arrive(int id, int threads) {
#if defined(HN_SIMT)
  simt::barrier_arrive(id, threads);
#else
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
#endif
}

}  // namespace hn::cuda::ptx
