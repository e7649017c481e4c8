// wgmma at every width that ptx_wgmma_shapes.cuh has: A from shared memory and from registers, B K-major and MN-major,
// each swizzle and none, bf16 and f16, four steps of k through one descriptor that is moved on.
#pragma once

#include <limits>

#include "cuda/device/ptx_sm90.cuh"
#include "cuda/device/shared.cuh"
#include "cuda/test/matrices.h"
#include "cuda/test/tiles.cuh"

namespace hn::cuda::test {

constexpr int kProductRows = 64, kDepth = 64, kStep = 16, kProductThreads = 128;

/// Where value (row, k) lies, and where the descriptor of the step from k on starts; bytes.
struct KMajor {
  int rows, swizzle;

  HN_HOST_DEVICE int byte(int row, int k) const {
    if (swizzle == 0) return row / 8 * stride() + k / 8 * leading() + row % 8 * 16 + k % 8 * 2;
    const int per = swizzle / 2;
    return k / per * rows * swizzle + row * swizzle + swizzled_chunk(row, k % per / 8, swizzle) * 16 + k % 8 * 2;
  }
  HN_HOST_DEVICE int start(int k) const {
    if (swizzle == 0) return k / 8 * leading();
    const int per = swizzle / 2;
    return k / per * rows * swizzle + k % per * 2;
  }
  HN_HOST_DEVICE int leading() const { return swizzle == 0 ? 128 : 16; }
  HN_HOST_DEVICE int stride() const { return swizzle == 0 ? kDepth / 8 * 128 : 8 * swizzle; }
};
struct MnMajor {
  int rows, swizzle;

  HN_HOST_DEVICE int byte(int row, int k) const {
    if (swizzle == 0) return k / 8 * leading() + row / 8 * stride() + k % 8 * 16 + row % 8 * 2;
    const int per = swizzle / 2;
    return row / per * leading() + k * swizzle + swizzled_chunk(k, row % per / 8, swizzle) * 16 + row % 8 * 2;
  }
  HN_HOST_DEVICE int start(int k) const { return swizzle == 0 ? k / 8 * leading() : k * swizzle; }
  HN_HOST_DEVICE int leading() const { return swizzle == 0 ? rows / 8 * 128 : kDepth * swizzle; }
  HN_HOST_DEVICE int stride() const { return swizzle == 0 ? 128 : 8 * swizzle; }
};

struct ProductSmem {
  unsigned char *a, *b;
};
HN_HOST_DEVICE ProductSmem product_smem(Carver& carve, int columns) {
  // MN-major, a swizzle's last width of columns is whole.
  return {carve.take<unsigned char>(kProductRows * kDepth * 2, 1024),
          carve.take<unsigned char>((columns + 63) / 64 * 64 * kDepth * 2, 1024)};
}

/// C [64, kColumns] = start + A · Bᵀ; without `start` the sums are NaN before, and must not be looked at.
template <int kColumns, ptx::WgmmaType kType, bool kRegisters, bool kTransposeB>
__global__ void __launch_bounds__(kProductThreads)
    product_kernel(const uint16_t* a, const uint16_t* b, const float* start, float* c, int swizzle) {
#if HN_HAS_SM90
  HN_DYN_SMEM(base);
  Carver carve(base);
  const ProductSmem smem = product_smem(carve, kColumns);
  const int thread = static_cast<int>(threadIdx.x), warp = warp_id(), lane = lane_id();
  const KMajor a_layout{kProductRows, swizzle};
  const std::conditional_t<kTransposeB, MnMajor, KMajor> b_layout{kColumns, swizzle};
  for (int i = thread; i < kProductRows * kDepth; i += kProductThreads) {
    *reinterpret_cast<uint16_t*>(smem.a + a_layout.byte(i / kDepth, i % kDepth)) = a[i];
  }
  for (int i = thread; i < kColumns * kDepth; i += kProductThreads) {
    *reinterpret_cast<uint16_t*>(smem.b + b_layout.byte(i / kDepth, i % kDepth)) = b[i];
  }
  ptx::fence_proxy_async();
  __syncthreads();

  const auto place_of = [&](int i) {
    return (warp * 16 + lane / 4 + i / 2 % 2 * 8) * kColumns + i / 4 * 8 + lane % 4 * 2 + i % 2;
  };
  float sums[kColumns / 2];
#pragma unroll
  for (int i = 0; i < kColumns / 2; ++i) sums[i] = start != nullptr ? start[place_of(i)] : ptx::bits_float(0x7fffffffu);
  uint32_t fragments[kDepth / kStep][4];
#pragma unroll
  for (int i = 0; i < kDepth / kStep * 4; ++i) {
    const int k = i / 4 * kStep + lane % 4 * 2 + i % 4 / 2 * 8;
    const uint16_t* from = a + (warp * 16 + lane / 4 + i % 2 * 8) * kDepth + k;
    fragments[i / 4][i % 4] = from[0] | static_cast<uint32_t>(from[1]) << 16;
  }
  // Made before the first product: with branches between two of them the compiler adds fences of its own (C7519).
  uint64_t da[kDepth / kStep], db[kDepth / kStep];
#pragma unroll
  for (int i = 0; i < kDepth / kStep; ++i) {
    const int k = i * kStep;
    da[i] = ptx::wgmma_descriptor(ptx::smem_u32(smem.a) + static_cast<uint32_t>(a_layout.start(k)), a_layout.leading(),
                                  a_layout.stride(), swizzle);
    db[i] = ptx::wgmma_descriptor(ptx::smem_u32(smem.b) + static_cast<uint32_t>(b_layout.start(k)), b_layout.leading(),
                                  b_layout.stride(), swizzle);
  }
  ptx::wgmma_fence();
#pragma unroll
  for (int i = 0; i < kDepth / kStep; ++i) {
    const bool accumulate = i > 0 || start != nullptr;
    if constexpr (kRegisters) {
      ptx::wgmma<kColumns, kType, kTransposeB>(sums, fragments[i], db[i], accumulate);
      ptx::wgmma_commit();
    } else {
      ptx::wgmma<kColumns, kType, kTransposeB>(sums, da[i], db[i], accumulate);
    }
  }
  if constexpr (kRegisters) {
    ptx::wgmma_wait<1>();
  } else {
    ptx::wgmma_commit();
  }
  ptx::wgmma_wait<0>();
#pragma unroll
  for (int i = 0; i < kColumns / 2; ++i) c[place_of(i)] = sums[i];
#endif
}

template <int kColumns, ptx::WgmmaType kType, bool kRegisters, bool kTransposeB>
void test_product(Suite& suite, Numbers numbers, int swizzle, bool adds) {
  constexpr bool kIsBf16 = kType == ptx::WgmmaType::bf16;
  const std::string name = "wgmma-n" + std::to_string(kColumns) + (kIsBf16 ? "-bf16" : "-f16") +
                           (kRegisters ? "-rs" : "-ss") + (kTransposeB ? "-mn" : "-k") + "-swizzle" +
                           std::to_string(swizzle) + (adds ? "-adds-" : "-") + name_of(numbers);
  const Format& format = kIsBf16 ? kBf16 : kF16;
  const Matrix a(kProductRows, kDepth, format, numbers, 60), b(kColumns, kDepth, format, numbers, 61);
  std::vector<float> start;
  if (adds) {
    for (size_t i = 0; i < kProductRows * kColumns; ++i) start.push_back(random_whole(i, 62, 99));
  }
  const Buffer<uint16_t> da(a.codes), db(b.codes);
  const Buffer<float> ds(adds ? start : std::vector<float>(1)), dc(kProductRows * kColumns);
  Carver carve;
  product_smem(carve, kColumns);
  if (!suite.launched(
          name, HN_LAUNCH((product_kernel<kColumns, kType, kRegisters, kTransposeB>), 1, kProductThreads, carve.bytes(),
                          suite.ctx, da.data(), db.data(), adds ? ds.data() : nullptr, dc.data(), swizzle)))
    return;
  Product(a, b, start, kStep).compare(suite, name, dc.read(), numbers);
}

template <int kColumns, ptx::WgmmaType kType, bool kRegisters, bool kTransposeB>
void test_form(Suite& suite) {
  for (const int swizzle : {0, 32, 64, 128}) {
    test_product<kColumns, kType, kRegisters, kTransposeB>(suite, Numbers::whole, swizzle, false);
  }
  test_product<kColumns, kType, kRegisters, kTransposeB>(suite, Numbers::whole, 128, true);
  test_product<kColumns, kType, kRegisters, kTransposeB>(suite, Numbers::random, 128, false);
}

template <int kColumns, ptx::WgmmaType kType>
void test_forms(Suite& suite) {
  test_form<kColumns, kType, false, false>(suite);
  test_form<kColumns, kType, false, true>(suite);
  test_form<kColumns, kType, true, false>(suite);
  test_form<kColumns, kType, true, true>(suite);
}

template <int... kColumns>
void test_products_of(Suite& suite) {
  (test_forms<kColumns, ptx::WgmmaType::bf16>(suite), ...);
  (test_forms<kColumns, ptx::WgmmaType::f16>(suite), ...);
}

inline void test_products(Suite& suite) { test_products_of<64, 128, 176, 192, 256>(suite); }

}  // namespace hn::cuda::test
