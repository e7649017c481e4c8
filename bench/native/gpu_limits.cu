// What a GPU reaches on the plainest work: copies and reads of arrays that no cache holds, multiply-adds in registers
// by plain instructions, mma.sync and (Hopper) wgmma. One object of JSON on stdout: GB/s and GFLOP/s, the best of
// several rounds by the device's own events.
#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "cuda/device/ptx_sm90.cuh"
#include "cuda/device/shared.cuh"
#include "cuda/launch.h"

namespace {

using namespace hn::cuda;

constexpr int kRounds = 15, kThreads = 256, kBlocksPerSm = 4, kSteps = 4096;
constexpr size_t kBytes = size_t{1} << 30;

void must(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(error));
  std::exit(1);
}
void must(const hn::Status& status, const char* what) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s: %s\n", what, status.message);
  std::exit(1);
}

__global__ void fill_kernel(uint32_t* to, size_t count) {
  const size_t stride = size_t{gridDim.x} * blockDim.x;
  for (size_t i = size_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += stride) {
    // Pairs of bf16 in ±(1, 2): what a chip draws depends on the bits that change.
    const uint32_t random = static_cast<uint32_t>(i) * 2654435761u;
    to[i] = 0x3f803f80u | (random >> 8 & 0x807f807fu);
  }
}

__global__ void copy_kernel(const uint4* from, uint4* to, size_t count) {
  const size_t stride = size_t{gridDim.x} * blockDim.x;
  for (size_t i = size_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += stride) to[i] = from[i];
}

__global__ void read_kernel(const uint4* from, uint4* to, size_t count) {
  const size_t stride = size_t{gridDim.x} * blockDim.x;
  uint32_t mixed = 0;
#pragma unroll 8
  for (size_t i = size_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += stride) {
    const uint4 v = from[i];
    mixed += v.x ^ v.y ^ v.z ^ v.w;
  }
  if (mixed == 0x12345678u) to[0].x = mixed;  // as good as never, but the compiler cannot know
}

constexpr int kChains = 8;

__global__ void fma_kernel(const float* in, float* out) {
  const float a = in[threadIdx.x % 32], b = in[32 + threadIdx.x % 32] * 1e-3f;
  float sums[kChains];
  for (int i = 0; i < kChains; ++i) sums[i] = in[i];
  for (int step = 0; step < kSteps; ++step) {
#pragma unroll
    for (int i = 0; i < kChains; ++i) sums[i] = fmaf(sums[i], b, a);
  }
  float sum = 0;
  for (int i = 0; i < kChains; ++i) sum += sums[i];
  out[blockIdx.x * blockDim.x + threadIdx.x] = sum;
}

__global__ void mma_kernel(const uint32_t* in, float* out) {
  uint32_t a[4];
  for (int i = 0; i < 4; ++i) a[i] = in[4 * lane_id() + i];
  const uint32_t b0 = in[128 + lane_id()], b1 = in[160 + lane_id()];
  float sums[kChains][4] = {};
  for (int step = 0; step < kSteps; ++step) {
#pragma unroll
    for (int i = 0; i < kChains; ++i) ptx::mma_bf16(sums[i], a, b0, b1);
  }
  float sum = 0;
  for (int i = 0; i < kChains; ++i) sum += sums[i][0] + sums[i][1] + sums[i][2] + sums[i][3];
  out[blockIdx.x * blockDim.x + threadIdx.x] = sum;
}

constexpr int kColumns = 256, kDepth = 64, kProductThreads = 256;

/// Two warpgroups an SM, each with sums of 64 × 256 of its own: A and B stay in shared memory, 128-byte swizzle.
__global__ void __launch_bounds__(kProductThreads, 1) wgmma_kernel(const uint32_t* in, float* out) {
#if HN_HAS_SM90
  HN_DYN_SMEM(base);
  constexpr int kWords = (2 * 64 + kColumns) * kDepth / 2;
  auto* const words = reinterpret_cast<uint32_t*>(base);
  for (int i = static_cast<int>(threadIdx.x); i < kWords; i += kProductThreads) words[i] = in[i];
  ptx::fence_proxy_async();
  __syncthreads();
  const int group = static_cast<int>(threadIdx.x) / 128;
  const uint32_t b = ptx::smem_u32(base), a = b + (kColumns + group * 64) * kDepth * 2;
  float sums[kColumns / 2];
#pragma unroll
  for (int i = 0; i < kColumns / 2; ++i) sums[i] = 0;
  for (int step = 0; step < kSteps / 4; ++step) {
    ptx::wgmma_fence();
#pragma unroll
    for (uint32_t k = 0; k < kDepth * 2; k += 32) {
      ptx::wgmma<kColumns, ptx::WgmmaType::bf16>(sums, ptx::wgmma_descriptor(a + k, 16, 1024, 128),
                                                 ptx::wgmma_descriptor(b + k, 16, 1024, 128), true);
    }
    ptx::wgmma_commit();
    ptx::wgmma_wait<0>();
  }
  float sum = 0;
#pragma unroll
  for (int i = 0; i < kColumns / 2; ++i) sum += sums[i];
  out[blockIdx.x * blockDim.x + threadIdx.x] = sum;
#endif
}

/// Seconds of the fastest round, after one that is not timed.
template <class Work>
double best_of(Work&& work) {
  cudaEvent_t begin, end;
  must(cudaEventCreate(&begin), "cudaEventCreate");
  must(cudaEventCreate(&end), "cudaEventCreate");
  float best = 1e30f;
  for (int round = 0; round <= kRounds; ++round) {
    must(cudaEventRecord(begin), "cudaEventRecord");
    work();
    must(cudaEventRecord(end), "cudaEventRecord");
    must(cudaEventSynchronize(end), "a kernel");
    float ms = 0;
    must(cudaEventElapsedTime(&ms, begin, end), "cudaEventElapsedTime");
    if (round > 0) best = std::min(best, ms);
  }
  return static_cast<double>(best) * 1e-3;
}

void* no_workspace(void*, size_t) { return nullptr; }
void no_check(void*) {}

int run() {
  cudaDeviceProp about;
  must(cudaGetDeviceProperties(&about, 0), "no GPU");
  const DeviceProperties device{about.multiProcessorCount, static_cast<int>(about.sharedMemPerBlockOptin),
                                10 * about.major + about.minor};
  const hn::LaunchHost host{.self = nullptr, .workspace = no_workspace, .order = 0, .checks_data = no_check};
  const Context ctx(nullptr, host, device, FaultWord());
  void *from = nullptr, *to = nullptr;
  must(cudaMalloc(&from, kBytes), "cudaMalloc of 1 GiB");
  must(cudaMalloc(&to, kBytes), "cudaMalloc of 1 GiB");
  const int64_t wide = int64_t{device.sm_count} * kBlocksPerSm, full = int64_t{device.sm_count} * 8;
  const auto* const vectors = static_cast<const uint4*>(from);
  auto* const stored = static_cast<uint4*>(to);
  auto* const sums = static_cast<float*>(to);
  must(HN_LAUNCH((fill_kernel), full, kThreads, 0, ctx, static_cast<uint32_t*>(from), kBytes / 4), "fill");

  const double memcpy = best_of([&] { must(cudaMemcpyAsync(to, from, kBytes, cudaMemcpyDeviceToDevice), "copy"); });
  const double copy =
      best_of([&] { must(HN_LAUNCH((copy_kernel), full, kThreads, 0, ctx, vectors, stored, kBytes / 16), "copy"); });
  const double read =
      best_of([&] { must(HN_LAUNCH((read_kernel), full, kThreads, 0, ctx, vectors, stored, kBytes / 16), "read"); });
  const double fma = best_of([&] {
    must(HN_LAUNCH((fma_kernel), full, kThreads, 0, ctx, static_cast<const float*>(from), sums), "multiply-adds");
  });
  const double mma = best_of([&] {
    must(HN_LAUNCH((mma_kernel), wide, kThreads, 0, ctx, static_cast<const uint32_t*>(from), sums), "mma.sync");
  });
  const double steps = static_cast<double>(kSteps);
  const double fma_flops = 2.0 * kChains * steps * kThreads * static_cast<double>(full);
  const double mma_flops = 2.0 * 16 * 8 * 16 * kChains * steps * (kThreads / 32) * static_cast<double>(wide);
  std::printf("{\"copyMemcpy\": %.6g, \"copyKernel\": %.6g, \"read\": %.6g, \"f32\": %.6g, \"mma\": %.6g, ",
              2e-9 * kBytes / memcpy, 2e-9 * kBytes / copy, 1e-9 * kBytes / read, 1e-9 * fma_flops / fma,
              1e-9 * mma_flops / mma);
  if (device.compute_capability != 90) {
    std::printf("\"wgmma\": null}\n");
    return 0;
  }
  const double wgmma = best_of([&] {
    must(HN_LAUNCH((wgmma_kernel), device.sm_count, kProductThreads, (2 * 64 + kColumns) * kDepth * 2, ctx,
                   static_cast<const uint32_t*>(from), sums),
         "wgmma");
  });
  const double wgmma_flops = 2.0 * 64 * kColumns * 16 * steps * 2 * device.sm_count;
  std::printf("\"wgmma\": %.6g}\n", 1e-9 * wgmma_flops / wgmma);
  return 0;
}

}  // namespace

int main() { return run(); }
