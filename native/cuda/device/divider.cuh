// Division of an index by a number known at launch, without the subroutine that a GPU divides 64-bit numbers with (some
// seventy instructions, and spills round the call).
#pragma once

#include "cuda/device/words.cuh"

namespace hn::cuda {

/// ⌊n / d⌋ for 0 ≤ n < 2^63 as the upper half of n · m, shifted: with s = ⌊log2 d⌋, m = ⌊2^(64 + s) / d⌋ + 1 exceeds
/// the true factor by at most d / 2^(64 + s), and n times that stays below 1 / d. (Granlund and Montgomery 1994.)
class Divider {
 public:
  Divider() = default;
  explicit Divider(int64_t divisor) : divisor_(divisor) {
    if (divisor < 2) return;  // one: n itself; none: an empty axis, over which nobody walks
    const auto d = static_cast<uint64_t>(divisor);
    shift_ = 63 - __builtin_clzll(d);
    if ((d & (d - 1)) == 0) {
      factor_ = uint64_t{1} << 63;  // 2^(64 + s) / d + 1 would need one bit more
      --shift_;
    } else {
      factor_ = static_cast<uint64_t>((static_cast<unsigned __int128>(1) << (64 + shift_)) / d) + 1;
    }
  }

  HN_HOST_DEVICE int64_t divisor() const { return divisor_; }

  HN_DEVICE int64_t quotient(int64_t n) const {
    return divisor_ == 1 ? n : static_cast<int64_t>(__umul64hi(static_cast<uint64_t>(n), factor_) >> shift_);
  }
  /// n becomes the quotient; answers the remainder.
  HN_DEVICE int64_t split(int64_t& n) const {
    const int64_t q = quotient(n), rest = n - q * divisor_;
    n = q;
    return rest;
  }

 private:
  int64_t divisor_ = 1;
  uint64_t factor_ = 0;
  int shift_ = 0;
};

}  // namespace hn::cuda
