// The words that kernels are written in, for both compilers. Under HN_SIMT the host compiler gets CUDA's own words from
// simt/cuda_words.h, which the build puts before each file as nvcc puts cuda_runtime.h: no source includes it.
#pragma once

#include <cstdint>

#if defined(HN_SIMT)
#if !defined(HN_SIMT_WORDS)
#error "compile with -include simt/cuda_words.h"
#endif
#else
#include <cuda_runtime.h>
#endif

/// Functions of kernels; of kernels and launchers.
#define HN_DEVICE __device__ __forceinline__
#define HN_HOST_DEVICE __host__ __device__ __forceinline__

/// Whether code for Hopper alone may be compiled here.
#if defined(HN_SIMT) || (defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900)
#define HN_HAS_SM90 1
#else
#define HN_HAS_SM90 0
#endif

namespace hn::cuda {

constexpr int kWarp = 32;
constexpr uint32_t kFullMask = 0xffffffffu;

HN_DEVICE int lane_id() { return static_cast<int>(threadIdx.x) % kWarp; }
HN_DEVICE int warp_id() { return static_cast<int>(threadIdx.x) / kWarp; }

}  // namespace hn::cuda
