// cp.async: every size with every number of bytes that are read, and groups that are waited for one after another.
#pragma once

#include "cuda/device/ptx.cuh"
#include "cuda/device/shared.cuh"
#include "cuda/test/suite.h"

namespace hn::cuda::test {

/// Thread t copies `t % (kBytes + 1)` bytes of its own kBytes; the rest becomes zero.
template <int kBytes>
__global__ void copy_kernel(const uint8_t* in, uint8_t* out) {
  HN_DYN_SMEM(base);
  const int at = static_cast<int>(threadIdx.x) * kBytes;
  ptx::cp_async<kBytes>(ptx::smem_u32(base + at), in + at, static_cast<int>(threadIdx.x) % (kBytes + 1));
  ptx::cp_async_commit();
  ptx::cp_async_wait<0>();
  __syncthreads();
  const int other = (static_cast<int>(blockDim.x) - 1) * kBytes - at;  // what another thread has copied
  for (int i = 0; i < kBytes; ++i) out[other + i] = base[other + i];
}

template <int kBytes>
void test_copy(Suite& suite) {
  constexpr int kThreads = 96;
  const std::string name = "cp_async-" + std::to_string(kBytes);
  std::vector<uint8_t> in, want;
  for (size_t i = 0; i < kThreads * kBytes; ++i) {
    in.push_back(static_cast<uint8_t>(random_bits(i, 20) | 1u));
    const bool read = i % kBytes < i / kBytes % (kBytes + 1);
    want.push_back(read ? in.back() : uint8_t{0});
  }
  const Buffer<uint8_t> from(in), to(in.size());
  if (suite.launched(
          name, HN_LAUNCH((copy_kernel<kBytes>), 1, kThreads, kThreads * kBytes, suite.ctx, from.data(), to.data())))
    suite.exact(name, to.read(), want);
}

constexpr int kGroups = 4;

/// Four groups on their way; each is read as soon as the wait for it is over.
static __global__ void group_kernel(const uint32_t* in, uint32_t* out) {
  HN_SHARED(uint4, shared, [kGroups * kWarp]);
  const int lane = lane_id();
  for (int group = 0; group < kGroups; ++group) {
    ptx::cp_async<16>(ptx::smem_u32(shared + group * kWarp + lane), in + 4 * (group * kWarp + lane));
    ptx::cp_async_commit();
  }
  const auto take = [&](int group) {
    const uint4 v = shared[group * kWarp + lane];
    out[group * kWarp + lane] = v.x ^ v.y ^ v.z ^ v.w;
  };
  ptx::cp_async_wait<3>();
  take(0);
  ptx::cp_async_wait<2>();
  take(1);
  ptx::cp_async_wait<1>();
  take(2);
  ptx::cp_async_wait<0>();
  take(3);
}

inline void test_copies(Suite& suite) {
  test_copy<4>(suite);
  test_copy<8>(suite);
  test_copy<16>(suite);
  std::vector<uint32_t> in, want;
  for (size_t i = 0; i < 4 * kGroups * kWarp; ++i) in.push_back(random_bits(i, 21));
  for (size_t i = 0; i < kGroups * kWarp; ++i)
    want.push_back(in[4 * i] ^ in[4 * i + 1] ^ in[4 * i + 2] ^ in[4 * i + 3]);
  const Buffer<uint32_t> from(in), to(want.size());
  if (suite.launched("cp_async-groups", HN_LAUNCH((group_kernel), 1, kWarp, 0, suite.ctx, from.data(), to.data())))
    suite.exact("cp_async-groups", to.read(), want);
}

}  // namespace hn::cuda::test
