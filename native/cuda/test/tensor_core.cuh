// ldmatrix in all its forms, and mma.sync in each type.
#pragma once

#include "cuda/device/ptx.cuh"
#include "cuda/device/shared.cuh"
#include "cuda/test/matrices.h"

namespace hn::cuda::test {

constexpr int kPitch = 24;  // 16-bit values from one row of 8 to the next: 48 bytes
HN_HOST_DEVICE int row_of_lane(int lane) { return lane * 5 % 32; }

template <int kCount, bool kTranspose>
__global__ void ldmatrix_kernel(const uint16_t* in, uint32_t* out) {
  HN_SHARED(uint4, shared, [32 * kPitch / 8]);
  const int lane = lane_id();
  auto* const rows = reinterpret_cast<uint16_t*>(shared);
  for (int i = lane; i < 32 * kPitch; i += kWarp) rows[i] = in[i];
  __syncwarp();
  uint32_t registers[kCount];
  ptx::ldmatrix<kCount, kTranspose>(ptx::smem_u32(rows + row_of_lane(lane) * kPitch), registers);
  for (int i = 0; i < kCount; ++i) out[i * kWarp + lane] = registers[i];
}

template <int kCount, bool kTranspose>
void test_ldmatrix(Suite& suite) {
  const std::string name = "ldmatrix-x" + std::to_string(kCount) + (kTranspose ? "-trans" : "");
  std::vector<uint16_t> in;
  for (size_t i = 0; i < 32 * kPitch; ++i) in.push_back(static_cast<uint16_t>(random_bits(i, 30)));
  const Buffer<uint16_t> from(in);
  const Buffer<uint32_t> to(kCount * kWarp);
  if (!suite.launched(name,
                      HN_LAUNCH((ldmatrix_kernel<kCount, kTranspose>), 1, kWarp, 0, suite.ctx, from.data(), to.data())))
    return;
  std::vector<uint32_t> want;
  for (int i = 0; i < kCount; ++i) {
    const auto at = [&](int row, int column) { return uint32_t{in[row_of_lane(8 * i + row) * kPitch + column]}; };
    for (int lane = 0; lane < kWarp; ++lane) {
      const int g = lane / 4, c = 2 * (lane % 4);
      want.push_back(kTranspose ? at(c, g) | at(c + 1, g) << 16 : at(g, c) | at(g, c + 1) << 16);
    }
  }
  suite.exact(name, to.read(), want);
}

enum class Mma { bf16, f16, tf32 };

/// D [16, 8] = C + A [16, depth] · Bᵀ, the fragments gathered from global memory as their description says.
template <Mma kType>
__global__ void mma_kernel(const uint16_t* a, const uint16_t* b, const float* c, float* d, int depth) {
  const int lane = lane_id(), g = lane / 4, t = lane % 4;
  float sums[4];
  for (int i = 0; i < 4; ++i) sums[i] = c[(g + i / 2 * 8) * 8 + 2 * t + i % 2];
  if constexpr (kType == Mma::tf32) {
    for (int k = 0; k < depth; k += 8) {
      // The codes are bf16: exact in TF32.
      const auto value = [](const uint16_t* from) { return ptx::float_to_tf32(ptx::bf16_to_float(*from)); };
      uint32_t fragment[4];
      for (int i = 0; i < 4; ++i) fragment[i] = value(a + (g + i % 2 * 8) * depth + k + t + i / 2 * 4);
      ptx::mma_tf32(sums, fragment, value(b + g * depth + k + t), value(b + g * depth + k + t + 4));
    }
  } else {
    for (int k = 0; k < depth; k += 16) {
      const auto pair = [](const uint16_t* from) { return from[0] | static_cast<uint32_t>(from[1]) << 16; };
      uint32_t fragment[4];
      for (int i = 0; i < 4; ++i) fragment[i] = pair(a + (g + i % 2 * 8) * depth + k + 2 * t + i / 2 * 8);
      const uint32_t b0 = pair(b + g * depth + k + 2 * t), b1 = pair(b + g * depth + k + 2 * t + 8);
      if constexpr (kType == Mma::bf16) {
        ptx::mma_bf16(sums, fragment, b0, b1);
      } else {
        ptx::mma_f16(sums, fragment, b0, b1);
      }
    }
  }
  for (int i = 0; i < 4; ++i) d[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = sums[i];
}

template <Mma kType>
void test_mma(Suite& suite, const char* type) {
  const Format& format = kType == Mma::f16 ? kF16 : kBf16;
  for (const Numbers numbers : {Numbers::whole, Numbers::random}) {
    for (const int depth : {16, 64}) {
      const std::string name = std::string("mma-") + type + "-" + name_of(numbers) + "-k" + std::to_string(depth);
      const Matrix a(16, depth, format, numbers, 31), b(8, depth, format, numbers, 32);
      std::vector<float> start;
      for (size_t i = 0; i < 16 * 8; ++i)
        start.push_back(numbers == Numbers::whole ? random_whole(i, 33, 99) : random_unit(i, 33));
      const Buffer<uint16_t> da(a.codes), db(b.codes);
      const Buffer<float> dc(start), dd(start.size());
      if (!suite.launched(name, HN_LAUNCH((mma_kernel<kType>), 1, kWarp, 0, suite.ctx, da.data(), db.data(), dc.data(),
                                          dd.data(), depth)))
        continue;
      Product(a, b, start, kType == Mma::tf32 ? 8 : 16).compare(suite, name, dd.read(), numbers);
    }
  }
}

inline void test_tensor_core(Suite& suite) {
  test_ldmatrix<1, false>(suite);
  test_ldmatrix<2, false>(suite);
  test_ldmatrix<4, false>(suite);
  test_ldmatrix<1, true>(suite);
  test_ldmatrix<2, true>(suite);
  test_ldmatrix<4, true>(suite);
  test_mma<Mma::bf16>(suite, "bf16");
  test_mma<Mma::f16>(suite, "f16");
  test_mma<Mma::tf32>(suite, "tf32");
}

}  // namespace hn::cuda::test
