// mbarriers: phases that threads alone complete, and a ring of tiles from a producer to two warpgroups of consumers,
// as the kernels for Hopper are built, setmaxnreg and elect included.
#pragma once

#include "cuda/test/tiles.cuh"

namespace hn::cuda::test {

constexpr int kPhases = 5;

/// A warp meets kPhases times; in each phase a lane hands a value to another. Two barriers take turns, so that nobody
/// writes what is still read.
static __global__ void phases_kernel(const uint32_t* in, uint32_t* out, uint32_t* elected) {
#if HN_HAS_SM90
  HN_SHARED(uint64_t, barriers, [2]);
  HN_SHARED(uint32_t, shared, [kWarp]);
  const int lane = lane_id();
  if (lane == 0) {
    for (int i = 0; i < 2; ++i) ptx::mbarrier_init(ptx::smem_u32(barriers + i), kWarp);
    ptx::fence_mbarrier_init();
  }
  __syncwarp();
  ptx::mbarrier_wait(ptx::smem_u32(barriers), 1);  // of a fresh barrier: goes through
  for (int phase = 0; phase < kPhases; ++phase) {
    const auto parity = static_cast<uint32_t>(phase % 2);
    shared[lane] = in[phase * kWarp + lane];
    ptx::mbarrier_arrive(ptx::smem_u32(barriers));
    ptx::mbarrier_wait(ptx::smem_u32(barriers), parity);
    out[phase * kWarp + lane] = shared[(lane + 1 + phase) % kWarp];
    ptx::mbarrier_arrive(ptx::smem_u32(barriers + 1));
    ptx::mbarrier_wait(ptx::smem_u32(barriers + 1), parity);
  }
  // Which lane is chosen is not promised, only that it is one.
  const uint32_t chosen = __ballot_sync(kFullMask, ptx::elect_one() ? 1 : 0);
  if (lane == 0) *elected = static_cast<uint32_t>(__popc(chosen));
#endif
}

inline void test_phases(Suite& suite) {
  std::vector<uint32_t> in, want;
  for (size_t i = 0; i < kPhases * kWarp; ++i) in.push_back(random_bits(i, 50));
  for (int i = 0; i < kPhases * kWarp; ++i) {
    const int phase = i / kWarp;
    want.push_back(in[phase * kWarp + (i + 1 + phase) % kWarp]);
  }
  const Buffer<uint32_t> from(in), to(in.size()), elected(1);
  if (!suite.launched("mbarrier-phases",
                      HN_LAUNCH((phases_kernel), 1, kWarp, 0, suite.ctx, from.data(), to.data(), elected.data())))
    return;
  suite.exact("mbarrier-phases", to.read(), want);
  suite.exact("elect", elected.read(), {1u});
}

constexpr int kRingTiles = 11, kStages = 3, kRingRows = 8, kRingColumns = 64, kConsumers = 256;
constexpr int kRingThreads = 128 + kConsumers, kRingBytes = kRingRows * kRingColumns * 2;
constexpr int kEach = kRingRows * kRingColumns / kConsumers;  // values of a tile that a consumer takes

struct RingSmem {
  uint16_t* tiles;
  uint64_t *full, *empty;
};
HN_HOST_DEVICE RingSmem ring_smem(Carver& carve) {
  return {carve.take<uint16_t>(kStages * kRingRows * kRingColumns, 1024), carve.take<uint64_t>(kStages),
          carve.take<uint64_t>(kStages)};
}

static __global__ void __launch_bounds__(kRingThreads, 1)
    ring_kernel(const __grid_constant__ TensorMap map, uint32_t* out) {
#if HN_HAS_SM90
  HN_DYN_SMEM(base);
  Carver carve(base);
  const RingSmem smem = ring_smem(carve);
  const int thread = static_cast<int>(threadIdx.x);
  if (thread == 0) {
    for (int i = 0; i < kStages; ++i) {
      ptx::mbarrier_init(ptx::smem_u32(smem.full + i), 1);
      ptx::mbarrier_init(ptx::smem_u32(smem.empty + i), kConsumers);
    }
    ptx::fence_mbarrier_init();
  }
  __syncthreads();
  if (thread < 128) {
    ptx::fewer_registers<24>();
    if (warp_id() != 0 || !ptx::elect_one()) return;
    for (int tile = 0; tile < kRingTiles; ++tile) {
      const int stage = tile % kStages;
      const uint32_t full = ptx::smem_u32(smem.full + stage);
      // In the first round the stages are empty: parity 1 of a fresh barrier goes through.
      ptx::mbarrier_wait(ptx::smem_u32(smem.empty + stage), static_cast<uint32_t>(tile / kStages + 1) % 2);
      ptx::mbarrier_arrive_expect(full, kRingBytes);
      const int at[] = {0, tile * kRingRows};
      ptx::tma_load(ptx::smem_u32(smem.tiles + stage * kRingRows * kRingColumns), map, full, at);
    }
    return;
  }
  ptx::more_registers<240>();
  const int consumer = thread - 128;
  uint32_t sum = 0;
  for (int tile = 0; tile < kRingTiles; ++tile) {
    const int stage = tile % kStages;
    ptx::mbarrier_wait(ptx::smem_u32(smem.full + stage), static_cast<uint32_t>(tile / kStages) % 2);
    for (int i = 0; i < kEach; ++i) {
      sum = 31 * sum + smem.tiles[stage * kRingRows * kRingColumns + consumer * kEach + i];
    }
    ptx::mbarrier_arrive(ptx::smem_u32(smem.empty + stage));
  }
  out[consumer] = sum;
#endif
}

inline void test_ring(Suite& suite) {
  std::vector<uint16_t> in;
  std::vector<uint32_t> want;
  for (size_t i = 0; i < kRingTiles * kRingRows * kRingColumns; ++i)
    in.push_back(static_cast<uint16_t>(random_bits(i, 51)));
  for (int consumer = 0; consumer < kConsumers; ++consumer) {
    uint32_t sum = 0;
    for (int tile = 0; tile < kRingTiles; ++tile) {
      for (int i = 0; i < kEach; ++i) {
        const int at = consumer * kEach + i, row = at / kRingColumns, column = at % kRingColumns;
        const int from = swizzled_chunk(row, column / 8, 128) * 8 + column % 8;  // the swizzle is its own inverse
        sum = 31 * sum + in[(tile * kRingRows + row) * kRingColumns + from];
      }
    }
    want.push_back(sum);
  }
  const Buffer<uint16_t> from(in);
  const Buffer<uint32_t> to(kConsumers);
  TensorMap map;
  const TensorLayout tensor{
      from.data(), 2, 2, {kRingColumns, kRingTiles * kRingRows}, {0, kRingColumns * 2}, {kRingColumns, kRingRows}, 128};
  Carver carve;
  ring_smem(carve);
  if (!suite.launched("mbarrier-ring", make_tensor_map(tensor, &map))) return;
  if (suite.launched("mbarrier-ring",
                     HN_LAUNCH((ring_kernel), 1, kRingThreads, carve.bytes(), suite.ctx, map, to.data())))
    suite.exact("mbarrier-ring", to.read(), want);
}

inline void test_mbarriers(Suite& suite) {
  test_phases(suite);
  test_ring(suite);
}

}  // namespace hn::cuda::test
