// divider.cuh for numbers below 2^31: one upper half of a 32-bit product instead of a 64-bit one. For positions, never
// for offsets.
#pragma once

#include "cuda/device/words.cuh"

namespace hn::cuda {

/// ⌊n / d⌋ for 0 ≤ n < 2^31: with l = ⌈log2 d⌉ the factor m = ⌈2^(31 + l) / d⌉ fits in 32 bits, and n · m / 2^(31 + l)
/// exceeds n / d by less than n / 2^31 · 1 / d, which reaches no whole number. (Granlund and Montgomery 1994.)
class Divider32 {
 public:
  Divider32() = default;
  explicit Divider32(int64_t divisor) : divisor_(static_cast<int>(divisor)) {
    if (divisor < 1) return;  // an empty axis, over which nobody walks
    const auto d = static_cast<uint64_t>(divisor);
    bits_ = d == 1 ? 0 : 64 - __builtin_clzll(d - 1);
    factor_ = static_cast<uint32_t>(((uint64_t{1} << (31 + bits_)) + d - 1) / d);
  }

  HN_HOST_DEVICE int divisor() const { return divisor_; }

  HN_DEVICE int quotient(int n) const {
    return static_cast<int>(__umulhi(static_cast<uint32_t>(n) << 1, factor_) >> bits_);
  }
  /// n becomes the quotient; answers the remainder.
  HN_DEVICE int split(int& n) const {
    const int q = quotient(n), rest = n - q * divisor_;
    n = q;
    return rest;
  }

 private:
  int divisor_ = 1;
  uint32_t factor_ = uint32_t{1} << 31;
  int bits_ = 0;
};

}  // namespace hn::cuda
