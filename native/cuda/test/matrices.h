// Matrices for the tensor cores, their product in doubles, and how far a sum may be off. Whole numbers are small enough
// for sums without rounding, which are the same everywhere. Of other sums tensor cores align the terms of a step to the
// largest and cut off the rest: 2^-21 · (|sum so far| + Σ|a · b|) a step of the instruction.
#pragma once

#include "cuda/test/formats.h"
#include "cuda/test/suite.h"

namespace hn::cuda::test {

enum class Numbers { whole, random };
inline const char* name_of(Numbers numbers) { return numbers == Numbers::whole ? "whole" : "random"; }

/// [rows, depth] in codes of a small type.
struct Matrix {
  int rows, depth;
  std::vector<uint16_t> codes;
  std::vector<double> values;

  Matrix(int rows, int depth, const Format& format, Numbers numbers, uint32_t stream) : rows(rows), depth(depth) {
    for (size_t i = 0; i < static_cast<size_t>(rows) * depth; ++i) {
      // Random numbers of different sizes, so that aligning them matters.
      const float x = numbers == Numbers::whole
                          ? random_whole(i, stream, 15)
                          : std::ldexp(random_unit(i, stream), static_cast<int>(random_bits(i, stream + 100) % 7) - 3);
      const uint32_t code = encode(static_cast<double>(x), format);
      codes.push_back(static_cast<uint16_t>(code));
      values.push_back(decode(code, format));
    }
  }
};

/// C [a.rows, b.rows] = start + A · Bᵀ.
struct Product {
  std::vector<double> sums;
  std::vector<float> allowed;

  Product(const Matrix& a, const Matrix& b, const std::vector<float>& start, int step) {
    for (int m = 0; m < a.rows; ++m) {
      for (int n = 0; n < b.rows; ++n) {
        const size_t at = static_cast<size_t>(m) * b.rows + n;
        double sum = start.empty() ? 0 : static_cast<double>(start[at]), off = 0;
        for (int k = 0; k < a.depth; k += step) {
          double size = std::fabs(sum);
          for (int i = k; i < k + step; ++i) {
            const double term = a.values[m * a.depth + i] * b.values[n * b.depth + i];
            sum += term;
            size += std::fabs(term);
          }
          off += 0x1p-21 * size;
        }
        sums.push_back(sum);
        allowed.push_back(static_cast<float>(off));
      }
    }
  }

  void compare(Suite& suite, const std::string& name, const std::vector<float>& got, Numbers numbers) const {
    if (numbers == Numbers::random) return suite.within(name, got, sums, allowed);
    suite.exact(name, got, std::vector<float>(sums.begin(), sums.end()));
  }
};

}  // namespace hn::cuda::test
