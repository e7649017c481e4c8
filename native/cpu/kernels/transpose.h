// Transposes blocks that lie in cache, in registers of 16 bytes: log2(N) rounds of interleaving rows r and r + N/2.
#pragma once

#include <cstdint>
#include <cstring>
#include <utility>

namespace hn::cpu::HN_ISA {

template <class U>
struct Square {
  static constexpr int kSide = 16 / static_cast<int>(sizeof(U));
  typedef U Row __attribute__((vector_size(16)));

  /// y[p][q] = x[q][p] for a square of kSide; strides in elements.
  static void transpose(const U* x, int64_t xs, U* y, int64_t ys) {
    Row a[kSide], b[kSide];
    for (int i = 0; i < kSide; ++i) std::memcpy(&a[i], x + i * xs, sizeof(Row));
    for (int round = 1; round < kSide; round *= 2) {
      for (int i = 0; i < kSide / 2; ++i) {
        b[2 * i] = zip<0>(a[i], a[i + kSide / 2], std::make_integer_sequence<int, kSide>());
        b[2 * i + 1] = zip<kSide / 2>(a[i], a[i + kSide / 2], std::make_integer_sequence<int, kSide>());
      }
      for (int i = 0; i < kSide; ++i) a[i] = b[i];
    }
    for (int i = 0; i < kSide; ++i) std::memcpy(y + i * ys, &a[i], sizeof(Row));
  }

 private:
  template <int kFrom, int... kLane>
  static Row zip(Row a, Row b, std::integer_sequence<int, kLane...>) {
    return __builtin_shufflevector(a, b, (kFrom + kLane / 2 + (kLane % 2) * kSide)...);
  }
};

/// y[p · ys + q] = x[q · xs + p] for p < np, q < nq. U may be any type of 1, 2, 4 or 8 bytes that has vectors.
template <class U>
void transpose_block(const U* x, int64_t xs, U* y, int64_t ys, int64_t np, int64_t nq) {
  constexpr int kSide = Square<U>::kSide;
  int64_t p = 0;
  for (; p + kSide <= np; p += kSide) {
    int64_t q = 0;
    for (; q + kSide <= nq; q += kSide) Square<U>::transpose(x + q * xs + p, xs, y + p * ys + q, ys);
    for (; q < nq; ++q)
      for (int64_t i = p; i < p + kSide; ++i) y[i * ys + q] = x[q * xs + i];
  }
  for (; p < np; ++p)
    for (int64_t q = 0; q < nq; ++q) y[p * ys + q] = x[q * xs + p];
}

}  // namespace hn::cpu::HN_ISA
