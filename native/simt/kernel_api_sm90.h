// What kernels for Hopper ask of the emulator beyond kernel_api.h: mbarriers, TMA, wgmma.
#pragma once

#include <cstddef>
#include <cstdint>

#include "simt/kernel_api.h"

namespace hn::simt {

// --- mbarriers (mbarrier.cc)
// --------------------------------------------------------------------------------------------

void mbarrier_init(uint32_t barrier, int count);
/// One arrival; first the phase is made to expect so many bytes more.
void mbarrier_arrive(uint32_t barrier, int expect_bytes);
/// Back when the phase of this parity is complete.
void mbarrier_wait(uint32_t barrier, uint32_t parity);
void fence_proxy_async();
bool elect();

// --- TMA (tma.cc)
// -------------------------------------------------------------------------------------------------------

constexpr int kMaxRank = 5;

/// A tensor in global memory and the tile that one copy moves; innermost dimension first.
struct TensorMap {
  const void* base;
  int rank, element_bytes;
  int64_t size[kMaxRank];
  int64_t stride[kMaxRank];  // in bytes; of the first dimension: one element
  int tile[kMaxRank];
  int swizzle;  // 0, 32, 64 or 128 bytes
};

void tma_load(uint32_t dst, const TensorMap& map, uint32_t barrier, const int* at, int rank);
void tma_store(const TensorMap& map, uint32_t src, const int* at, int rank);
void bulk_commit();
void bulk_wait(int pending);

// --- wgmma (wgmma.cc)
// ---------------------------------------------------------------------------------------------------

struct Wgmma {
  float* d;  // n / 2 sums of this thread
  int n;
  uint64_t a;                   // descriptor; not looked at when there are
  const uint32_t* a_registers;  // four of them
  uint64_t b;
  bool accumulate, transpose_b;
  Half type;
};
void wgmma(const Wgmma& operation);
void wgmma_commit();
void wgmma_wait(int pending);

}  // namespace hn::simt
