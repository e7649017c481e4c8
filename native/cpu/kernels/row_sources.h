// Sources for gemm.h from tensors whose rows lie anywhere: [..., K] with any strides of the outer axes, seen as one
// matrix with as many rows as the tensor has. Columns can be multiplied by factors, those of a scaled weight.
#pragma once

#include "cpu/kernels/gemm.h"
#include "cpu/kernels/rows.h"
#include "cpu/kernels/transpose.h"

namespace hn::cpu::HN_ISA {

/// A[m][k] is row m of the tensor, column k, times factor k.
template <class Acc>
struct RowsA final : ASource<Acc> {
  explicit RowsA(const TensorView& t, Scale s = {}) : view(t), map(t), scale(s), load(load_row<Acc>(t.dtype)) {}
  void rows(Acc* dst, int64_t ld, int64_t, int64_t m0, int64_t m_count, int64_t k0, int64_t k_count) const override {
    for (int64_t i = 0; i < m_count; ++i, dst += ld) {
      load(view.at(map(m0 + i) + k0), 1, k_count, dst);
      if (scale.data != nullptr)
        for (int64_t j = 0; j < k_count; ++j) dst[j] *= static_cast<Acc>(scale.at(k0 + j));
    }
  }
  TensorView view;
  RowMap map;
  Scale scale;
  LoadRow<Acc> load;
};

/// A[m][k] is row k of the tensor, column m, times factor m: the sums run over the tensor's rows.
template <class Acc>
struct RowsTransposedA final : ASource<Acc> {
  explicit RowsTransposedA(const TensorView& t, Scale s = {})
      : view(t), map(t), scale(s), load(load_row<Acc>(t.dtype)) {}
  void rows(Acc* dst, int64_t ld, int64_t, int64_t m0, int64_t m_count, int64_t k0, int64_t k_count) const override {
    constexpr int64_t kSide = 64;  // a block of 64 x 64 stays in the first-level cache while it is turned
    Acc block[kSide * kSide];
    for (int64_t i = 0; i < m_count; i += kSide)
      for (int64_t p = 0; p < k_count; p += kSide) {
        const int64_t m = m_count - i < kSide ? m_count - i : kSide, k = k_count - p < kSide ? k_count - p : kSide;
        for (int64_t q = 0; q < k; ++q) {
          Acc* row = block + q * kSide;
          load(view.at(map(k0 + p + q) + m0 + i), 1, m, row);
          if (scale.data != nullptr)
            for (int64_t j = 0; j < m; ++j) row[j] *= static_cast<Acc>(scale.at(m0 + i + j));
        }
        transpose_block<Acc>(block, kSide, dst + i * ld + p, ld, m, k);
      }
  }
  TensorView view;
  RowMap map;
  Scale scale;
  LoadRow<Acc> load;
};

/// B[k][n] is row k of the tensor, column n.
template <class Acc>
struct RowsB final : BSource<Acc> {
  explicit RowsB(const TensorView& t) : view(t), map(t), load(load_row<Acc>(t.dtype)) {}
  void panel(Acc* dst, int64_t, int64_t k0, int64_t k_count, int64_t n0, int64_t n_count) const override {
    for (int64_t p = 0; p < k_count; ++p, dst += NR<Acc>) {
      load(view.at(map(k0 + p) + n0), 1, n_count, dst);
      for (int64_t j = n_count; j < NR<Acc>; ++j) dst[j] = 0;
    }
  }
  TensorView view;
  RowMap map;
  LoadRow<Acc> load;
};

}  // namespace hn::cpu::HN_ISA
