// The small float types in plain arithmetic of doubles: what the conversions of ptx_math.cuh are compared with.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

namespace hn::cuda::test {

struct Format {
  int mantissa, min_exponent;
  uint32_t sign, infinity, nan;  // codes; what rounds to `infinity` or beyond becomes it
  bool nan_keeps_sign, ties_away;
};
constexpr Format kBf16{7, -126, 0x8000, 0x7f80, 0x7fff, false, false};
constexpr Format kF16{10, -14, 0x8000, 0x7c00, 0x7fff, false, false};
constexpr Format kF8e4m3{3, -6, 0x80, 0x7f, 0x7f, true, false};  // has no infinity: its last code is NaN
constexpr Format kTf32{10, -126, 1u << 18, 0x3fc00, 0x3ffff, false, true};

inline uint32_t encode(double x, const Format& f) {
  const uint32_t sign = std::signbit(x) ? f.sign : 0u;
  if (std::isnan(x)) return f.nan_keeps_sign ? sign | f.nan : f.nan;
  const double magnitude = std::fabs(x);
  if (magnitude == 0) return sign;
  if (std::isinf(x)) return sign | f.infinity;
  const int exponent = std::max(std::ilogb(magnitude), f.min_exponent);
  const double steps = std::ldexp(magnitude, f.mantissa - exponent);
  const double rounded = f.ties_away ? std::round(steps) : std::nearbyint(steps);
  // The mantissa's hidden bit, and what it carries over, count up the exponent by themselves.
  const int64_t code = (int64_t{exponent - f.min_exponent} << f.mantissa) + static_cast<int64_t>(rounded);
  return sign | (code >= int64_t{f.infinity} ? f.infinity : static_cast<uint32_t>(code));
}

inline double decode(uint32_t code, const Format& f) {
  const uint32_t magnitude = code & (f.sign - 1);
  const double sign = (code & f.sign) != 0 ? -1 : 1;
  if (magnitude > f.infinity || magnitude == f.nan) return std::numeric_limits<double>::quiet_NaN();
  if (magnitude == f.infinity) return sign * std::numeric_limits<double>::infinity();
  const int field = static_cast<int>(magnitude >> f.mantissa);
  const auto steps = static_cast<double>(magnitude & ((1u << f.mantissa) - 1)) + (field > 0 ? 1 << f.mantissa : 0);
  return sign * std::ldexp(steps, std::max(field, 1) - 1 + f.min_exponent - f.mantissa);
}

}  // namespace hn::cuda::test
