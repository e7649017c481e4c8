// Words of warps and blocks: shuffles, votes, counting bits, atomics, barriers of the block and of parts of it.
#pragma once

#include "cuda/device/ptx.cuh"
#include "cuda/device/shared.cuh"
#include "cuda/test/suite.h"

namespace hn::cuda::test {

constexpr int kShuffles = 14, kVotes = 6, kBitWords = 5;

static __global__ void shuffle_kernel(const uint32_t* in, uint32_t* out, uint64_t* wide) {
  const int lane = lane_id();
  const uint32_t x = in[lane];
  const uint32_t results[kShuffles] = {
      __shfl_sync(kFullMask, x, lane * 7 + 3), __shfl_sync(kFullMask, x, 5, 8),
      __shfl_sync(kFullMask, x, lane * 3, 16), __shfl_xor_sync(kFullMask, x, 1),
      __shfl_xor_sync(kFullMask, x, 16),       __shfl_xor_sync(kFullMask, x, 31),
      __shfl_xor_sync(kFullMask, x, 3, 4),     __shfl_xor_sync(kFullMask, x, 8, 8),
      __shfl_up_sync(kFullMask, x, 1),         __shfl_up_sync(kFullMask, x, 5, 8),
      __shfl_up_sync(kFullMask, x, 20),        __shfl_down_sync(kFullMask, x, 1),
      __shfl_down_sync(kFullMask, x, 5, 8),    __shfl_down_sync(kFullMask, x, 20),
  };
  for (int i = 0; i < kShuffles; ++i) out[i * kWarp + lane] = results[i];
  wide[lane] = __shfl_xor_sync(kFullMask, static_cast<unsigned long long>(x) << 32 | in[31 - lane], 9);
}

inline void test_shuffles(Suite& suite) {
  std::vector<uint32_t> in;
  for (size_t i = 0; i < kWarp; ++i) in.push_back(random_bits(i, 10));
  const Buffer<uint32_t> from(in), to(kShuffles * kWarp);
  const Buffer<uint64_t> wide(kWarp);
  if (!suite.launched("shuffle",
                      HN_LAUNCH((shuffle_kernel), 1, kWarp, 0, suite.ctx, from.data(), to.data(), wide.data())))
    return;
  std::vector<uint32_t> want(kShuffles * kWarp);
  std::vector<uint64_t> wide_want(kWarp);
  for (int lane = 0; lane < kWarp; ++lane) {
    const auto group = [lane](int width) { return lane / width * width; };
    const auto up = [&](int by, int width) { return lane - group(width) >= by ? lane - by : lane; };
    const auto down = [&](int by, int width) { return lane - group(width) + by < width ? lane + by : lane; };
    const int sources[kShuffles] = {
        (lane * 7 + 3) % 32, group(8) + 5, group(16) + lane * 3 % 16, lane ^ 1, lane ^ 16, lane ^ 31, lane ^ 3,
        // Lanes of an earlier group may be read, those of a later one may not.
        (lane ^ 8) < lane ? lane ^ 8 : lane, up(1, 32), up(5, 8), up(20, 32), down(1, 32), down(5, 8), down(20, 32)};
    for (int i = 0; i < kShuffles; ++i) want[i * kWarp + lane] = in[sources[i]];
    wide_want[lane] = static_cast<uint64_t>(in[lane ^ 9]) << 32 | in[31 - (lane ^ 9)];
  }
  suite.exact("shuffle", to.read(), want);
  suite.exact("shuffle-64", wide.read(), wide_want);
}

static __global__ void vote_kernel(const uint32_t* in, uint32_t* votes, uint32_t* bits, uint64_t* products) {
  const int lane = lane_id();
  const uint32_t x = in[lane];
  uint32_t* const mine = votes + lane * kVotes;
  mine[0] = __ballot_sync(kFullMask, static_cast<int>(x & 1u));
  mine[1] = __any_sync(kFullMask, lane == 7) != 0;
  mine[2] = __any_sync(kFullMask, lane == 77) != 0;
  mine[3] = __all_sync(kFullMask, lane < 32) != 0;
  mine[4] = __all_sync(kFullMask, lane != 7) != 0;
  mine[5] = __ballot_sync(kFullMask, lane % 3);
  uint32_t* const words = bits + lane * kBitWords;
  words[0] = static_cast<uint32_t>(__popc(x));
  words[1] = static_cast<uint32_t>(__ffs(static_cast<int>(x << lane)));
  words[2] = static_cast<uint32_t>(__clz(static_cast<int>(x >> lane)));
  words[3] = __umulhi(x, in[31 - lane]);
  words[4] = __float_as_uint(__uint_as_float(x));
  products[lane] = __umul64hi(static_cast<uint64_t>(x) << 31 | x, static_cast<uint64_t>(in[31 - lane]) << 29 | 5u);
}

inline void test_votes(Suite& suite) {
  std::vector<uint32_t> in;
  for (size_t i = 0; i < kWarp; ++i) in.push_back(random_bits(i, 11));
  in[3] = 0;
  const Buffer<uint32_t> from(in), votes(kWarp * kVotes), bits(kWarp * kBitWords);
  const Buffer<uint64_t> products(kWarp);
  if (!suite.launched("vote", HN_LAUNCH((vote_kernel), 1, kWarp, 0, suite.ctx, from.data(), votes.data(), bits.data(),
                                        products.data())))
    return;
  uint32_t odd = 0, thirds = 0;
  for (int lane = 0; lane < kWarp; ++lane) {
    odd |= (in[lane] & 1u) << lane;
    if (lane % 3 != 0) thirds |= 1u << lane;
  }
  std::vector<uint32_t> want, bits_want;
  std::vector<uint64_t> products_want;
  for (int lane = 0; lane < kWarp; ++lane) {
    for (const uint32_t one : {odd, 1u, 0u, 1u, 0u, thirds}) want.push_back(one);
    const uint32_t x = in[lane], up = x << lane, down = x >> lane;
    uint32_t ones = 0, first = 0, zeros = 0;
    for (int i = 0; i < 32; ++i) ones += x >> i & 1u;
    while (up != 0 && (up >> first & 1u) == 0) ++first;
    while (zeros < 32 && (down >> (31 - zeros) & 1u) == 0) ++zeros;
    const uint32_t high = static_cast<uint32_t>(uint64_t{x} * in[31 - lane] >> 32);
    for (const uint32_t one : {ones, up == 0 ? 0u : first + 1, zeros, high, x}) bits_want.push_back(one);
    const uint64_t a = uint64_t{x} << 31 | x, b = uint64_t{in[31 - lane]} << 29 | 5u;
    products_want.push_back(static_cast<uint64_t>(static_cast<unsigned __int128>(a) * b >> 64));
  }
  suite.exact("vote", votes.read(), want);
  suite.exact("bit-words", bits.read(), bits_want);
  suite.exact("umul64hi", products.read(), products_want);
}

constexpr int kBlockThreads = 128, kBlockWords = 5;

/// Barriers carry values between warps: of the whole block with its three votes, of two warps that both wait, and of
/// one that arrives and one that waits.
static __global__ void barrier_kernel(const uint32_t* in, uint32_t* out) {
  HN_SHARED(uint32_t, shared, [kBlockThreads]);
  const int thread = static_cast<int>(threadIdx.x), warp = warp_id();
  uint32_t* const mine = out + thread * kBlockWords;
  mine[0] = static_cast<uint32_t>(__syncthreads_count(static_cast<int>(in[thread] & 1u)));
  mine[1] = __syncthreads_or(thread == 77) != 0;
  mine[2] = __syncthreads_and(thread != 77) != 0;
  shared[thread] = in[thread];
  mine[3] = 0;
  if (warp < 2) {
    ptx::named_barrier_sync(1, 64);
    mine[3] = shared[63 - thread];
  } else if (warp == 2) {
    ptx::named_barrier_arrive(2, 64);
  } else {
    ptx::named_barrier_sync(2, 64);
    mine[3] = shared[thread - 32];
  }
  __syncthreads();
  mine[4] = shared[(thread + 37) % kBlockThreads];
}

inline void test_barriers(Suite& suite) {
  std::vector<uint32_t> in, want;
  uint32_t odd = 0;
  for (size_t i = 0; i < kBlockThreads; ++i) {
    in.push_back(random_bits(i, 12));
    odd += in.back() & 1u;
  }
  const Buffer<uint32_t> from(in), to(kBlockThreads * kBlockWords);
  if (!suite.launched("barriers", HN_LAUNCH((barrier_kernel), 1, kBlockThreads, 0, suite.ctx, from.data(), to.data())))
    return;
  for (int t = 0; t < kBlockThreads; ++t) {
    const uint32_t through = t < 64 ? in[63 - t] : t < 96 ? 0u : in[t - 32];
    for (const uint32_t one : {odd, 1u, 0u, through, in[(t + 37) % kBlockThreads]}) want.push_back(one);
  }
  suite.exact("barriers", to.read(), want);
}

static __global__ void atomic_kernel(const uint32_t* in, uint32_t* words, unsigned long long* wide, float* sum) {
  const uint32_t x = in[blockIdx.x * blockDim.x + threadIdx.x];
  atomicAdd(words, x);
  atomicAdd(reinterpret_cast<int*>(words + 1), static_cast<int>(x) >> 8);
  atomicMax(words + 2, x);
  atomicMin(words + 3, x);
  atomicMax(reinterpret_cast<int*>(words + 4), static_cast<int>(x));
  atomicMin(reinterpret_cast<int*>(words + 5), static_cast<int>(x));
  for (uint32_t seen = words[6], was; (was = atomicCAS(words + 6, seen, seen + 1)) != seen;) seen = was;
  atomicAdd(wide, static_cast<unsigned long long>(x) << 8);
  // Whole numbers: the order of the additions does not show.
  atomicAdd(sum, static_cast<float>(x % 64));
}

inline void test_atomics(Suite& suite) {
  constexpr int kBlocks = 3, kCount = kBlocks * kBlockThreads;
  std::vector<uint32_t> in;
  uint32_t sum = 0, most = 0, least = UINT32_MAX;
  int shifted = 0, highest = 0, lowest = 0;
  uint64_t wide_sum = 0;
  float small = 0;
  for (size_t i = 0; i < kCount; ++i) {
    const uint32_t x = random_bits(i, 13);
    in.push_back(x);
    sum += x;
    shifted += static_cast<int>(x) >> 8;
    most = std::max(most, x);
    least = std::min(least, x);
    highest = std::max(highest, static_cast<int>(x));
    lowest = std::min(lowest, static_cast<int>(x));
    wide_sum += uint64_t{x} << 8;
    small += static_cast<float>(x % 64);
  }
  const Buffer<uint32_t> from(in), words(std::vector<uint32_t>{0, 0, 0, UINT32_MAX, 0, 0, 0});
  const Buffer<uint64_t> wide(1);
  const Buffer<float> total(1);
  if (!suite.launched("atomics",
                      HN_LAUNCH((atomic_kernel), kBlocks, kBlockThreads, 0, suite.ctx, from.data(), words.data(),
                                reinterpret_cast<unsigned long long*>(wide.data()), total.data())))
    return;
  suite.exact("atomics", words.read(),
              {sum, static_cast<uint32_t>(shifted), most, least, static_cast<uint32_t>(highest),
               static_cast<uint32_t>(lowest), static_cast<uint32_t>(kCount)});
  suite.exact("atomics-64", wide.read(), {wide_sum});
  suite.exact("atomics-float", total.read(), {small});
}

inline void test_warps(Suite& suite) {
  test_shuffles(suite);
  test_votes(suite);
  test_barriers(suite);
  test_atomics(suite);
}

}  // namespace hn::cuda::test
