// The two ends of a convolution as a matrix product: gathered rows going in, voxels of a grid coming out.
#pragma once

#include "cpu/kernels/conv3d_taps.h"
#include "cpu/kernels/gemm.h"

namespace hn::cpu::HN_ISA {

/// A = the gathered rows.
template <class Acc>
struct GatheredA final : ASource<Acc> {
  explicit GatheredA(const TapRows<Acc>& taps) : taps(taps) {}
  void rows(Acc* dst, int64_t ld, int64_t, int64_t m0, int64_t m_count, int64_t k0, int64_t k_count) const override {
    using Columns = typename TapRows<Acc>::Columns;
    for (int64_t k = 0; k < k_count; k += Columns::kMost) {
      const Columns columns(taps, k0 + k, k_count - k < Columns::kMost ? k_count - k : Columns::kMost);
      Voxel v = taps.voxel(m0);
      for (int64_t i = 0; i < m_count; ++i, taps.advance(v)) taps.gather(v, columns, dst + i * ld + k);
    }
  }
  const TapRows<Acc>& taps;
};

/// Every step-th position of an axis.
struct GridAxis {
  int64_t start = 0, step = 1, count = 0;
};

/// Row m of the product belongs to voxel m of a grid within `out` [B, T, H, W, N]; a bias [N] may be added.
template <class Acc>
struct VoxelSink final : Sink<Acc> {
  VoxelSink(const TensorView& out, const GridAxis (&grid)[3], const Acc* bias)
      : out(out), bias(bias), store(store_row<Acc>(out.dtype)) {
    for (int i = 0; i < 3; ++i) axes[i] = grid[i];
  }
  void rows(Acc* tile, int64_t ld, int64_t, int64_t m0, int64_t m_count, int64_t n0, int64_t n_count) const override {
    for (int64_t i = 0; i < m_count; ++i) {
      Acc* row = tile + i * ld;
      if (bias != nullptr)
        for (int64_t j = 0; j < n_count; ++j) row[j] += bias[n0 + j];
      store(out.at(offset(m0 + i) + n0), 1, n_count, row);
    }
  }
  int64_t offset(int64_t m) const {
    int64_t sum = 0;
    for (int i = 2; i >= 0; --i) {
      sum += (axes[i].start + m % axes[i].count * axes[i].step) * out.strides[i + 1];
      m /= axes[i].count;
    }
    return sum + m * out.strides[0];
  }
  TensorView out;
  GridAxis axes[3];
  const Acc* bias;
  StoreRow<Acc> store;
};

}  // namespace hn::cpu::HN_ISA
