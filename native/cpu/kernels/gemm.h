// C[M,N] = A[M,K] B[K,N], the one matrix product under linear, matmul and conv3d: blocks come from sources, finished
// sums go to a sink. Sums are float or double (Acc), whatever the storage types; the result's bytes do not depend on
// the number of threads.
#pragma once

#include <cstdint>

#include "core/status.h"
#include "core/tensor_view.h"
#include "cpu/context.h"
#include "cpu/kernels/convert.h"
#include "cpu/kernels/gemm_micro.h"

namespace hn::cpu::HN_ISA {

struct GemmShape {
  int64_t batch = 1;
  int64_t m = 0, n = 0, k = 0;
};

// Sources and sinks live on the caller's stack and are never deleted through these classes. All their functions are
// called from several threads at once.

template <class Acc>
struct ASource {
  /// Writes A[b][m0 + i][k0 + j] to dst[i * ld + j] for i < m_count, j < k_count.
  virtual void rows(Acc* dst, int64_t ld, int64_t b, int64_t m0, int64_t m_count, int64_t k0,
                    int64_t k_count) const = 0;
};

template <class Acc>
struct BSource {
  /// Writes B[b][k0 + i][n0 + j] to dst[i * NR + j] for i < k_count, and zeros for n_count <= j < NR.
  virtual void panel(Acc* dst, int64_t b, int64_t k0, int64_t k_count, int64_t n0, int64_t n_count) const = 0;
};

template <class Acc>
struct Sink {
  /// Takes the finished sums C[b][m0 + i][n0 + j] = tile[i * ld + j]; each element comes exactly once. The tile may be
  /// overwritten (an epilogue works in place).
  virtual void rows(Acc* tile, int64_t ld, int64_t b, int64_t m0, int64_t m_count, int64_t n0,
                    int64_t n_count) const = 0;
};

/// Any M, N, K and batch, 0 included; K = 0 sends zeros to the sink.
template <class Acc>
Status gemm(const Context& ctx, const GemmShape& shape, const ASource<Acc>& a, const BSource<Acc>& b,
            const Sink<Acc>& sink);

// --- ready sources
// ----------------------------------------------------------------------------------------------------

/// Where matrix b of a batch begins: any strides over up to four axes, 0 to repeat (rank 0: all the same matrix).
struct BatchStrides {
  int rank = 0;
  int64_t shape[kMaxRank - 2] = {};
  int64_t strides[kMaxRank - 2] = {};

  int64_t offset(int64_t b) const {
    int64_t sum = 0;
    for (int i = rank - 1; i >= 0; --i) {
      sum += b % shape[i] * strides[i];
      b /= shape[i];
    }
    return sum;
  }
};

/// A matrix as it lies in memory; strides in elements. A column stride of 1 is the fast way.
struct Matrix {
  void* data = nullptr;
  DType dtype = DType::f32;
  int64_t row_stride = 0;
  int64_t col_stride = 1;
  BatchStrides batch;

  char* at(int64_t b, int64_t row, int64_t col) const {
    return static_cast<char*>(data) + (batch.offset(b) + row * row_stride + col * col_stride) * info(dtype).block_bytes;
  }
};

/// Factors of B: none, one for all, or one for each of the N columns of B (rows of a linear's weight).
struct Scale {
  const float* data = nullptr;
  int64_t count = 0;

  float at(int64_t n) const { return data == nullptr ? 1.0f : data[count == 1 ? 0 : n]; }
};

/// A stored as [M, K].
template <class Acc>
struct RowMajorA final : ASource<Acc> {
  explicit RowMajorA(const Matrix& m) : matrix(m), load(load_row<Acc>(m.dtype)) {}
  void rows(Acc* dst, int64_t ld, int64_t b, int64_t m0, int64_t m_count, int64_t k0, int64_t k_count) const override;
  Matrix matrix;
  LoadRow<Acc> load;
};

/// A stored as [K, M]: the product of a transposed matrix (weight gradients).
template <class Acc>
struct TransposedA final : ASource<Acc> {
  explicit TransposedA(const Matrix& m) : matrix(m), load(load_row<Acc>(m.dtype)) {}
  void rows(Acc* dst, int64_t ld, int64_t b, int64_t m0, int64_t m_count, int64_t k0, int64_t k_count) const override;
  Matrix matrix;
  LoadRow<Acc> load;
};

/// B stored as [K, N].
template <class Acc>
struct RowMajorB final : BSource<Acc> {
  explicit RowMajorB(const Matrix& m, Scale s = {}) : matrix(m), scale(s), load(load_row<Acc>(m.dtype)) {}
  void panel(Acc* dst, int64_t b, int64_t k0, int64_t k_count, int64_t n0, int64_t n_count) const override;
  Matrix matrix;
  Scale scale;
  LoadRow<Acc> load;
};

/// B stored as [N, K]: the weight of a linear layer.
template <class Acc>
struct TransposedB final : BSource<Acc> {
  explicit TransposedB(const Matrix& m, Scale s = {}) : matrix(m), scale(s), load(load_row<Acc>(m.dtype)) {}
  void panel(Acc* dst, int64_t b, int64_t k0, int64_t k_count, int64_t n0, int64_t n_count) const override;
  Matrix matrix;
  Scale scale;
  LoadRow<Acc> load;
};

/// C stored as [M, N], without an epilogue.
template <class Acc>
struct RowMajorSink final : Sink<Acc> {
  explicit RowMajorSink(const Matrix& m) : matrix(m), store(store_row<Acc>(m.dtype)) {}
  void rows(Acc* tile, int64_t ld, int64_t b, int64_t m0, int64_t m_count, int64_t n0, int64_t n_count) const override;
  Matrix matrix;
  StoreRow<Acc> store;
};

}  // namespace hn::cpu::HN_ISA
