// Conversion between any two element types, as `cast` does it and bit for bit as the CPU backend (but for the payload
// of a NaN): rounded to nearest even once; to integers truncated and saturated, NaN to 0; to bool "is not zero". f8e4m3
// has no infinity: what rounds beyond 448 becomes NaN.
//
// Values go through a type that loses nothing on the way: integers through int64_t, f64 on either side through double,
// all else through float.
#pragma once

#include <type_traits>

#include "cuda/device/storage.cuh"

namespace hn::cuda {

/// A double that rounds on to any narrower float type as the integer itself would (round to odd).
HN_DEVICE double to_odd_double(int64_t v) {
  constexpr int64_t kExact = int64_t{1} << 53;
  if (v > -kExact && v < kExact) return static_cast<double>(v);
  const int64_t sticky = (v & 0x7ff) != 0 ? 0x800 : 0;
  return static_cast<double>((v & ~int64_t{0x7ff}) | sticky);
}

HN_DEVICE int64_t within(int64_t v, int64_t low, int64_t high) { return v < low ? low : v > high ? high : v; }

/// v as a T. Unlike narrow, which wraps integers around as arithmetic does, this saturates them.
template <class T, class V>
HN_DEVICE T convert(V v) {
  if constexpr (std::is_same_v<V, int64_t>) {
    if constexpr (std::is_same_v<T, int32_t>) return static_cast<T>(within(v, INT32_MIN, INT32_MAX));
    if constexpr (std::is_same_v<T, uint8_t>) return static_cast<T>(within(v, 0, UINT8_MAX));
    if constexpr (std::is_same_v<compute_t<T>, float> && !std::is_same_v<T, float>) return narrow<T>(to_odd_double(v));
  }
  return narrow<T>(v);
}

/// Calls fn(T{}) for the type, among those whose values go through Acc.
template <class Acc, class Fn>
HN_DEVICE void with_source(DType type, Fn&& fn) {
  if constexpr (std::is_same_v<Acc, int64_t>) {
    if (type == DType::i32) return fn(int32_t{});
    if (type == DType::i64) return fn(int64_t{});
    if (type == DType::u8) return fn(uint8_t{});
    return fn(boolean{});
  } else {
    if (type == DType::f32) return fn(float{});
    if (type == DType::bf16) return fn(bf16{});
    if (type == DType::f16) return fn(f16{});
    if constexpr (std::is_same_v<Acc, double>) {
      if (type == DType::f64) return fn(double{});
    }
    return fn(f8e4m3{});
  }
}
/// The same for the type that values of Acc become.
template <class Acc, class Fn>
HN_DEVICE void with_target(DType type, Fn&& fn) {
  switch (type) {
    case DType::f32:
      return fn(float{});
    case DType::f64:
      if constexpr (!std::is_same_v<Acc, float>) fn(double{});
      return;
    case DType::f16:
      return fn(f16{});
    case DType::bf16:
      return fn(bf16{});
    case DType::f8e4m3:
      return fn(f8e4m3{});
    case DType::i32:
      return fn(int32_t{});
    case DType::i64:
      return fn(int64_t{});
    case DType::u8:
      return fn(uint8_t{});
    default:
      return fn(boolean{});
  }
}

/// A number as the bits of an element, in the lowest bytes. It is rounded to f32 on its way to a narrower float type,
/// and truncated on its way to an integer or bool, as the CPU backend's fill and where do.
HN_DEVICE uint64_t element_bits(DType type, double number) {
  uint64_t bits = 0;
  const auto take = [&](auto value) { memcpy(&bits, &value, sizeof value); };
  if (type == DType::f64) {
    take(number);
  } else if (is_float(type)) {
    with_source<float>(type, [&](auto storage) { take(narrow<decltype(storage)>(static_cast<float>(number))); });
  } else {
    const int64_t whole = to_int<int64_t>(number, INT64_MIN, INT64_MAX);
    with_source<int64_t>(type, [&](auto storage) { take(convert<decltype(storage)>(whole)); });
  }
  return bits;
}

}  // namespace hn::cuda
