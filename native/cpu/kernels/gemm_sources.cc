// The ready sources and the plain sink of gemm.h: rows and panels of matrices in memory, widened to Acc on the way.

#include <cstring>

#include "cpu/kernels/gemm.h"

namespace hn::cpu::HN_ISA {
namespace {

constexpr int64_t kTransposeK = 128;  // elements of a row widened at once: NR rows of them stay in L1

constexpr int64_t kRowsAhead = 16;  // of a row-major B, asked for before they are needed

int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

void prefetch(const char* p, int64_t bytes) {
  for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(p + i);
}

template <class Acc>
void multiply(Acc* row, int64_t n, Acc factor) {
  for (int64_t i = 0; i < n; ++i) row[i] *= factor;
}

}  // namespace

template <class Acc>
void RowMajorA<Acc>::rows(Acc* dst, int64_t ld, int64_t b, int64_t m0, int64_t m_count, int64_t k0,
                          int64_t k_count) const {
  const char* row = matrix.at(b, m0, k0);
  const int64_t row_bytes = matrix.row_stride * info(matrix.dtype).block_bytes;
  for (int64_t i = 0; i < m_count; ++i) {
    // Rows are short pieces of long ones: the hardware's prefetch would begin anew, late, with each.
    if (i + 1 < m_count && matrix.col_stride == 1) prefetch(row + (i + 1) * row_bytes, bytes_of(matrix.dtype, k_count));
    load(row + i * row_bytes, matrix.col_stride, k_count, dst + i * ld);
  }
}

template <class Acc>
void TransposedA<Acc>::rows(Acc* dst, int64_t ld, int64_t b, int64_t m0, int64_t m_count, int64_t k0,
                            int64_t k_count) const {
  constexpr int64_t kSide = 64;
  Acc block[kSide * kSide];
  const int64_t row_bytes = matrix.row_stride * info(matrix.dtype).block_bytes;
  for (int64_t i = 0; i < m_count; i += kSide)
    for (int64_t p = 0; p < k_count; p += kSide) {
      const int64_t m = smaller(kSide, m_count - i), k = smaller(kSide, k_count - p);
      const char* row = matrix.at(b, k0 + p, m0 + i);
      for (int64_t q = 0; q < k; ++q) load(row + q * row_bytes, matrix.col_stride, m, block + q * kSide);
      transpose<Acc>(block, kSide, k, m, dst + i * ld + p, ld);
    }
}

template <class Acc>
void RowMajorB<Acc>::panel(Acc* dst, int64_t b, int64_t k0, int64_t k_count, int64_t n0, int64_t n_count) const {
  const char* row = matrix.at(b, k0, n0);
  const int64_t row_bytes = matrix.row_stride * info(matrix.dtype).block_bytes;
  Acc factors[NR<Acc>];
  for (int64_t j = 0; j < n_count; ++j) factors[j] = static_cast<Acc>(scale.at(n0 + j));
  for (int64_t p = 0; p < k_count; ++p, dst += NR<Acc>) {
    // Each row gives a line or two, rows lie pages apart: no hardware prefetch follows that.
    if (p + kRowsAhead < k_count) prefetch(row + (p + kRowsAhead) * row_bytes, bytes_of(matrix.dtype, n_count));
    load(row + p * row_bytes, matrix.col_stride, n_count, dst);
    if (scale.data != nullptr)
      for (int64_t j = 0; j < n_count; ++j) dst[j] *= factors[j];
    for (int64_t j = n_count; j < NR<Acc>; ++j) dst[j] = 0;
  }
}

template <class Acc>
void TransposedB<Acc>::panel(Acc* dst, int64_t b, int64_t k0, int64_t k_count, int64_t n0, int64_t n_count) const {
  constexpr int64_t kLd = kTransposeK + 64 / static_cast<int64_t>(sizeof(Acc));
  alignas(64) Acc block[NR<Acc> * kLd];
  const char* row = matrix.at(b, n0, k0);
  const int64_t element = info(matrix.dtype).block_bytes, row_bytes = matrix.row_stride * element;
  if (n_count < NR<Acc>) std::memset(block, 0, sizeof block);  // the rows that are not there
  for (int64_t p = 0; p < k_count; p += kTransposeK) {
    const int64_t k = smaller(kTransposeK, k_count - p), ahead = smaller(kTransposeK, k_count - p - k);
    const char* piece = row + p * matrix.col_stride * element;
    for (int64_t j = 0; j < n_count; ++j, piece += row_bytes) {
      if (matrix.col_stride == 1) prefetch(piece + k * element, ahead * element);
      load(piece, matrix.col_stride, k, block + j * kLd);
      if (scale.data != nullptr) multiply<Acc>(block + j * kLd, k, static_cast<Acc>(scale.at(n0 + j)));
    }
    transpose<Acc>(block, kLd, NR<Acc>, k, dst + p * NR<Acc>, NR<Acc>);
  }
}

template <class Acc>
void RowMajorSink<Acc>::rows(Acc* tile, int64_t ld, int64_t b, int64_t m0, int64_t m_count, int64_t n0,
                             int64_t n_count) const {
  char* row = matrix.at(b, m0, n0);
  const int64_t row_bytes = matrix.row_stride * info(matrix.dtype).block_bytes;
  for (int64_t i = 0; i < m_count; ++i) store(row + i * row_bytes, matrix.col_stride, n_count, tile + i * ld);
}

template struct RowMajorA<float>;
template struct RowMajorA<double>;
template struct TransposedA<float>;
template struct TransposedA<double>;
template struct RowMajorB<float>;
template struct RowMajorB<double>;
template struct TransposedB<float>;
template struct TransposedB<double>;
template struct RowMajorSink<float>;
template struct RowMajorSink<double>;

}  // namespace hn::cpu::HN_ISA
