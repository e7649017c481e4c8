// Arithmetic on two tensors, or a tensor and a number, broadcast against each other, and the gradients that are not
// arithmetic themselves.
//   minimum and maximum hand NaN on, from either side. Integers (i32, i64, u8) wrap around like C's unsigned types.
//   div:      da = dy / b, db = −dy · a / b²
//   min, max: dy goes to the smaller (larger) side, half of it to each side where they are equal
//
// Operands of any strides (0 along what is broadcast) and one type; f32, bf16 and f16 are computed in f32 and rounded
// once. Bytes: size(a) + size(b) + size(y); backward each gradient reads dy, and a or b or both. FLOPs: 1 an element, 3
// backward. Bound by memory.
#include "core/generated/pointwise.h"
#include "cuda/device/convert.cuh"
#include "cuda/device/map.cuh"
#include "cuda/device/reduce.cuh"
#include "cuda/support.h"

namespace hn::cuda {
namespace {

using Fn = BinaryArgs::Fn;

struct Floats {
  using Result = float;
  Fn fn;

  template <int kCount>
  HN_DEVICE void operator()(const float (&in)[2][kCount], float (&out)[kCount]) const {
    const auto run = [&](auto each) { for_each(in, out, each); };
    switch (fn) {
      case Fn::add:
        return run([](float u, float v) { return u + v; });
      case Fn::sub:
        return run([](float u, float v) { return u - v; });
      case Fn::mul:
        return run([](float u, float v) { return u * v; });
      case Fn::div:
        return run([](float u, float v) { return u / v; });
      case Fn::minimum:
        return run(Min{});
      default:
        return run(Max{});
    }
  }
};

template <class T>
struct Ints {
  using Result = int64_t;
  Fn fn;

  template <int kCount>
  HN_DEVICE void operator()(const int64_t (&in)[2][kCount], int64_t (&out)[kCount]) const {
    // Unsigned inside, where overflow is defined.
    const auto wrap = [&](auto each) {
      for_each(in, out, [&](int64_t u, int64_t v) {
        return static_cast<int64_t>(each(static_cast<uint64_t>(u), static_cast<uint64_t>(v)));
      });
    };
    // A number may lie outside of T.
    const auto saturate = [&](auto each) {
      for_each(in, out, [&](int64_t u, int64_t v) { return static_cast<int64_t>(convert<T>(each(u, v))); });
    };
    switch (fn) {
      case Fn::add:
        return wrap([](uint64_t u, uint64_t v) { return u + v; });
      case Fn::sub:
        return wrap([](uint64_t u, uint64_t v) { return u - v; });
      case Fn::mul:
        return wrap([](uint64_t u, uint64_t v) { return u * v; });
      case Fn::minimum:
        return saturate(Min{});
      default:
        return saturate(Max{});
    }
  }
};

/// g / v.
struct Quotient {
  using Result = float;

  template <int kCount>
  HN_DEVICE void operator()(const float (&in)[2][kCount], float (&out)[kCount]) const {
    for_each(in, out, [](float g, float v) { return g / v; });
  }
};

/// The gradient for one side, from dy, its own values and the other side's.
struct Share {
  using Result = float;
  static constexpr int kMostAtOnce = 4;  // three operands take registers
  using Fn = BinaryBackwardArgs::Fn;
  Fn fn;

  template <int kCount>
  HN_DEVICE void operator()(const float (&in)[3][kCount], float (&out)[kCount]) const {
    // As PyTorch deals it out: NaN compares unequal and gets all of dy.
    const bool larger = fn == Fn::maximum;
    if (fn == Fn::div) return for_each(in, out, [](float g, float u, float v) { return -g * ((u / v) / v); });
    for_each(in, out, [&](float g, float u, float v) {
      const bool loses = larger ? u < v : u > v;
      return loses ? 0.0f : u == v ? 0.5f * g : g;
    });
  }
};

}  // namespace

// --- launchers ------------------------------------------------------------------------------------------------------

HN_SUPPORTS(binary, kFloats | kInts);
HN_SUPPORTS(binary_backward, kFloats);

Status binary(const Context& ctx, const BinaryArgs& a) {
  if (is_float(a.y.dtype)) {
    return with_storage(a.y.dtype, [&](auto storage) {
      using T = decltype(storage);
      return map_elements<T, T>(ctx, Floats{a.fn}, a.y, {&a.a, &a.b}, a.scalar);
    });
  }
  if (a.fn == Fn::div) return Status::invalid("integers have no true division");
  return with_types<int32_t, int64_t, uint8_t>(a.y.dtype, [&](auto storage) {
    using T = decltype(storage);
    return map_elements<T, T>(ctx, Ints<T>{a.fn}, a.y, {&a.a, &a.b}, a.scalar);
  });
}

Status binary_backward(const Context& ctx, const BinaryBackwardArgs& a) {
  const bool div = a.fn == BinaryBackwardArgs::Fn::div;
  return with_storage(a.dy.dtype, [&](auto storage) -> Status {
    using T = decltype(storage);
    if (a.da && div) {
      HN_RETURN_IF_ERROR((map_elements<T, T>(ctx, Quotient{}, a.da, {&a.dy, &a.b}, a.scalar)));
    } else if (a.da) {
      HN_RETURN_IF_ERROR((map_elements<T, T>(ctx, Share{a.fn}, a.da, {&a.dy, &a.a, &a.b}, a.scalar)));
    }
    if (!a.db) return {};
    if (div) return map_elements<T, T>(ctx, Share{a.fn}, a.db, {&a.dy, &a.a, &a.b}, a.scalar);
    return map_elements<T, T>(ctx, Share{a.fn}, a.db, {&a.dy, &a.b, &a.a}, a.scalar);
  });
}

}  // namespace hn::cuda
