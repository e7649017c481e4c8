// TMA (sm_90): one thread moves a tile of 2 to 5 dimensions between global and shared memory. `at` is the tile's corner
// in elements, innermost dimension first; it may lie outside of the tensor. Shared addresses are aligned to 8 times the
// swizzle, and to 128 bytes.
#pragma once

#include "cuda/device/tensor_map.h"
#include "cuda/device/words.cuh"

#if HN_HAS_SM90

namespace hn::cuda::ptx {

/// Brings the tile to shared memory; its bytes count for the mbarrier, where they have been announced.
template <int kRank>
HN_DEVICE void tma_load(uint32_t dst, const TensorMap& map, uint32_t barrier, const int (&at)[kRank]) {
  static_assert(kRank >= 2 && kRank <= 5);
#if defined(HN_SIMT)
  simt::tma_load(dst, map, barrier, at, kRank);
#else
  if constexpr (kRank == 2) {
    asm volatile(
        "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3,%4}], [%2];" ::
            "r"(dst),
        "l"(&map), "r"(barrier), "r"(at[0]), "r"(at[1])
        : "memory");
  } else if constexpr (kRank == 3) {
    asm volatile(
        "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
        "[%0], [%1, {%3,%4,%5}], [%2];" ::"r"(dst),
        "l"(&map), "r"(barrier), "r"(at[0]), "r"(at[1]), "r"(at[2])
        : "memory");
  } else if constexpr (kRank == 4) {
    asm volatile(
        "cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
        "[%0], [%1, {%3,%4,%5,%6}], [%2];" ::"r"(dst),
        "l"(&map), "r"(barrier), "r"(at[0]), "r"(at[1]), "r"(at[2]), "r"(at[3])
        : "memory");
  } else {
    asm volatile(
        "cp.async.bulk.tensor.5d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
        "[%0], [%1, {%3,%4,%5,%6,%7}], [%2];" ::"r"(dst),
        "l"(&map), "r"(barrier), "r"(at[0]), "r"(at[1]), "r"(at[2]), "r"(at[3]), "r"(at[4])
        : "memory");
  }
#endif
}

/// Takes the tile from shared memory, where it was written before a fence_proxy_async.
template <int kRank>
HN_DEVICE void tma_store(const TensorMap& map, uint32_t src, const int (&at)[kRank]) {
  static_assert(kRank >= 2 && kRank <= 5);
#if defined(HN_SIMT)
  simt::tma_store(map, src, at, kRank);
#else
  if constexpr (kRank == 2) {
    asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [%0, {%2,%3}], [%1];" ::"l"(&map),
                 "r"(src), "r"(at[0]), "r"(at[1])
                 : "memory");
  } else if constexpr (kRank == 3) {
    asm volatile("cp.async.bulk.tensor.3d.global.shared::cta.tile.bulk_group [%0, {%2,%3,%4}], [%1];" ::"l"(&map),
                 "r"(src), "r"(at[0]), "r"(at[1]), "r"(at[2])
                 : "memory");
  } else if constexpr (kRank == 4) {
    asm volatile("cp.async.bulk.tensor.4d.global.shared::cta.tile.bulk_group [%0, {%2,%3,%4,%5}], [%1];" ::"l"(&map),
                 "r"(src), "r"(at[0]), "r"(at[1]), "r"(at[2]), "r"(at[3])
                 : "memory");
  } else {
    asm volatile("cp.async.bulk.tensor.5d.global.shared::cta.tile.bulk_group [%0, {%2,%3,%4,%5,%6}], [%1];" ::"l"(&map),
                 "r"(src), "r"(at[0]), "r"(at[1]), "r"(at[2]), "r"(at[3]), "r"(at[4])
                 : "memory");
  }
#endif
}

/// Closes the group of stores issued since the last commit.
HN_DEVICE void tma_store_commit() {
#if defined(HN_SIMT)
  simt::bulk_commit();
#else
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
#endif
}

/// Waits until at most kPending of this thread's groups are on their way. kReadOnly: until they have been read from
/// shared memory, which may then be written again; the emulator makes no difference.
template <int kPending, bool kReadOnly = false>
HN_DEVICE void tma_store_wait() {
#if defined(HN_SIMT)
  simt::bulk_wait(kPending);
#else
  if constexpr (kReadOnly) {
    asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(kPending) : "memory");
  } else {
    asm volatile("cp.async.bulk.wait_group %0;" ::"n"(kPending) : "memory");
  }
#endif
}

/// Fetches the map itself ahead of its first use.
HN_DEVICE void prefetch_tensor_map([[maybe_unused]] const TensorMap& map) {
#if !defined(HN_SIMT)
  asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
#endif
}

}  // namespace hn::cuda::ptx

#endif
