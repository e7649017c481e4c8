// ldmatrix and mma.sync (sm_80). All 32 lanes of a warp call them together.
//
// Fragments of m16n8k16, with g = lane / 4 and c = 2 · (lane % 4); two 16-bit values a register, the lower column low:
//   A [16, 16]  a0 = (g, c..c+1)   a1 = (g + 8, c..)   a2 = (g, c + 8..)   a3 = (g + 8, c + 8..)
//   B [16, 8]   b0 = (c..c+1, g)   b1 = (c + 8.., g)          column-major: B is [N, K] in memory
//   C [16, 8]   c0, c1 = (g, c), (g, c + 1)   c2, c3 = (g + 8, c), (g + 8, c + 1)
#pragma once

#include "cuda/device/words.cuh"

namespace hn::cuda::ptx {

/// kCount (1, 2, 4) matrices of 8 × 8 16-bit values. Lane 8 · i + r gives the address of row r of matrix i (16 bytes,
/// 16-byte aligned); what lanes beyond 8 · kCount give is not looked at. Lane l gets elements 2 · (l % 4) and the next
/// of row l / 4 of each matrix; with kTranspose, of its transpose.
template <int kCount, bool kTranspose = false>
HN_DEVICE void ldmatrix(uint32_t row, uint32_t (&r)[kCount]) {
  static_assert(kCount == 1 || kCount == 2 || kCount == 4);
#if defined(HN_SIMT)
  simt::ldmatrix(row, r, kCount, kTranspose);
#else
  if constexpr (kCount == 1 && !kTranspose) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];" : "=r"(r[0]) : "r"(row) : "memory");
  } else if constexpr (kCount == 1) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%0}, [%1];" : "=r"(r[0]) : "r"(row) : "memory");
  } else if constexpr (kCount == 2 && !kTranspose) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];"
                 : "=r"(r[0]), "=r"(r[1])
                 : "r"(row)
                 : "memory");
  } else if constexpr (kCount == 2) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];"
                 : "=r"(r[0]), "=r"(r[1])
                 : "r"(row)
                 : "memory");
  } else if constexpr (!kTranspose) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(row)
                 : "memory");
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(row)
                 : "memory");
  }
#endif
}

/// d += A · B in bf16 with f32 sums, m16n8k16.
HN_DEVICE void mma_bf16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
#if defined(HN_SIMT)
  simt::mma_16n8k16(d, a, b0, b1, simt::Half::bf16);
#else
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#endif
}

/// The same in f16.
HN_DEVICE void mma_f16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
#if defined(HN_SIMT)
  simt::mma_16n8k16(d, a, b0, b1, simt::Half::f16);
#else
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#endif
}

/// d += A · B in TF32 with f32 sums, m16n8k8; operands from float_to_tf32. With t = lane % 4:
/// a0 = (g, t), a1 = (g + 8, t), a2 = (g, t + 4), a3 = (g + 8, t + 4); b0 = (t, g), b1 = (t + 4, g); d as above.
HN_DEVICE void mma_tf32(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
#if defined(HN_SIMT)
  simt::mma_16n8k8_tf32(d, a, b0, b1);
#else
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#endif
}

}  // namespace hn::cuda::ptx
