// How kernels are launched: HN_LAUNCH and nothing else.
//
//   return HN_LAUNCH((forward_kernel<T, 8>), blocks, threads, smem_bytes, ctx, x, y, width);
//
// Blocks and threads are one number each: a grid's y and z end at 65,535, so indices of more dimensions are decoded
// from blockIdx.x, or the kernel strides over the grid. No blocks, no launch. Dynamic shared memory beyond 48 KB is
// allowed for on the way. The answer is a Status that must not be dropped.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cuda/context.h"
#include "cuda/device/words.cuh"

#if !defined(HN_SIMT)
#include <tuple>
#include <utility>
#endif

namespace hn::cuda {

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// Blocks for a kernel that strides over its grid: as many as are of use, at most `waves` of full occupancy by blocks
/// of which an SM holds `blocks_per_sm`. Only where the number of blocks does not change any sum.
inline int64_t strided_blocks(const Context& ctx, int64_t wanted, int blocks_per_sm = 8, int waves = 4) {
  return std::min(wanted, static_cast<int64_t>(ctx.device().sm_count) * blocks_per_sm * waves);
}

struct LaunchShape {
  int64_t blocks;
  int threads;
  int64_t smem_bytes;
};

/// What would be refused on any device: said before the launch, in the same words under the emulator.
inline Status check_shape(const LaunchShape& shape, const DeviceProperties& device) {
  if (shape.blocks < 0 || shape.blocks > INT32_MAX) return Status::invalid("the kernel's grid is too large");
  if (shape.threads < 1 || shape.threads > 1024)
    return Status::invalid("the kernel's block has too many threads or none");
  if (shape.smem_bytes > device.max_shared_bytes) {
    return Status::missing("the kernel needs more shared memory than this device has");
  }
  return {};
}

#if defined(HN_SIMT)

template <class... Params, class... Args>
Status launch_kernel(void (*kernel)(Params...), const char* name, const LaunchShape& shape, const Context& ctx,
                     const Args&... args) {
  HN_RETURN_IF_ERROR(check_shape(shape, ctx.device()));
  const auto body = [&] { kernel(static_cast<Params>(args)...); };
  return simt::launch(
      {name, shape.blocks, shape.threads, static_cast<size_t>(shape.smem_bytes)},
      [](const void* call) { (*static_cast<const decltype(body)*>(call))(); }, &body);
}

#else

inline Status to_status(cudaError_t error) {
  if (error == cudaSuccess) return {};
  if (error == cudaErrorMemoryAllocation) return Status::no_memory();
  return {Code::device_error, cudaGetErrorString(error)};
}

template <class... Params, class... Args>
Status launch_kernel(void (*kernel)(Params...), const char*, const LaunchShape& shape, const Context& ctx,
                     const Args&... args) {
  constexpr int64_t kFreeSharedBytes = 48 << 10;
  HN_RETURN_IF_ERROR(check_shape(shape, ctx.device()));
  if (shape.blocks == 0) return {};
  const void* function = reinterpret_cast<const void*>(kernel);
  if (shape.smem_bytes > kFreeSharedBytes) {
    HN_RETURN_IF_ERROR(to_status(cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                      static_cast<int>(shape.smem_bytes))));
  }
  std::tuple<Params...> values{static_cast<Params>(args)...};
  return std::apply(
      [&](auto&... value) {
        void* pointers[] = {const_cast<void*>(static_cast<const void*>(&value))..., nullptr};
        return to_status(cudaLaunchKernel(function, dim3(static_cast<unsigned>(shape.blocks)),
                                          dim3(static_cast<unsigned>(shape.threads)), pointers,
                                          static_cast<size_t>(shape.smem_bytes), ctx.stream()));
      },
      values);
}

#endif

}  // namespace hn::cuda

#define HN_UNPAREN(...) __VA_ARGS__
#define HN_STRING(...) #__VA_ARGS__
#define HN_LAUNCH(kernel, blocks, threads, smem_bytes, ctx, ...)                                        \
  ::hn::cuda::launch_kernel(HN_UNPAREN kernel, HN_STRING kernel,                                        \
                            ::hn::cuda::LaunchShape{static_cast<int64_t>(blocks), threads, smem_bytes}, \
                            ctx __VA_OPT__(, ) __VA_ARGS__)
