// What is gathered along axes (fold.cuh): sums in f64, extremes, and the place of the largest.
#pragma once

#include <type_traits>

#include "cuda/device/fold.cuh"

namespace hn::cuda {

/// A number for each output: from doubles in a row, from a tensor walked by its kept axes, or none (0).
struct PerOutput {
  const double* numbers = nullptr;
  AnyPtr tensor;
  RowMap map;

  HN_DEVICE double load(int64_t output) const {
    if (numbers != nullptr) return numbers[output];
    return tensor ? static_cast<double>(tensor.load(map(output))) : 0.0;
  }
};

/// Element i of a dense output, rounded once from double.
HN_DEVICE void store_number(const AnyOut& out, int64_t i, double v) {
  switch (out.dtype) {
    case DType::f32:
      return store(static_cast<float*>(out.data) + i, v);
    case DType::bf16:
      return store(static_cast<bf16*>(out.data) + i, v);
    case DType::f16:
      return store(static_cast<f16*>(out.data) + i, v);
    default:
      return store(static_cast<double*>(out.data) + i, v);
  }
}

/// Sums of floats. They run in f64, as the ops' documentation has it: with one conversion and one addition an element
/// that is still less than reading the element takes, on devices that have f64 in full.
struct SumFold {
  enum class Term { value, square, squared_distance, equal };  // the last two: from, or to, the output's number
  enum class Result { total, share, root, split };             // s, s / n, √s, the output's number / s
  using State = double;
  using Aside = double;

  Term term = Term::value;
  Result result = Result::total;
  double n = 1;
  PerOutput center, divided;
  AnyOut y;
  double* copy = nullptr;  // a second output

  HN_DEVICE static State identity() { return 0; }
  HN_DEVICE static State join(State a, State b) { return a + b; }
  HN_DEVICE Aside aside(int64_t output) const { return center.load(output); }

  template <class Fn>
  HN_DEVICE void choose(Fn&& fn) const {
    switch (term) {
      case Term::value:
        return fn([](State& s, float v, int64_t, Aside) { s += static_cast<double>(v); });
      case Term::square:
        return fn([](State& s, float v, int64_t, Aside) { s += static_cast<double>(v) * static_cast<double>(v); });
      case Term::squared_distance:
        return fn([](State& s, float v, int64_t, Aside c) {
          const double d = static_cast<double>(v) - c;
          s += d * d;
        });
      default:
        return fn([](State& s, float v, int64_t, Aside c) { s += static_cast<double>(v) == c ? 1.0 : 0.0; });
    }
  }

  HN_DEVICE void finish(int64_t output, State s) const {
    if (result == Result::share) s /= n;
    if (result == Result::root) s = sqrt(s);
    if (result == Result::split) s = divided.load(output) / s;
    store_number(y, output, s);
    if (copy != nullptr) copy[output] = s;
  }
};

/// Element i of a dense output of integers.
struct IntOut {
  void* data;
  DType dtype;

  HN_DEVICE void store(int64_t i, int64_t v) const {
    switch (dtype) {
      case DType::i32:
        static_cast<int32_t*>(data)[i] = static_cast<int32_t>(v);
        break;
      case DType::i64:
        static_cast<int64_t*>(data)[i] = v;
        break;
      default:
        static_cast<uint8_t*>(data)[i] = static_cast<uint8_t>(v);
    }
  }
};

/// Sums of integers and bools, which wrap around.
struct IntSumFold {
  using State = uint64_t;
  using Aside = Nothing;
  IntOut y;

  HN_DEVICE static State identity() { return 0; }
  HN_DEVICE static State join(State a, State b) { return a + b; }
  HN_DEVICE Aside aside(int64_t) const { return {}; }
  template <class Fn>
  HN_DEVICE void choose(Fn&& fn) const {
    fn([](State& s, int64_t v, int64_t, Aside) { s += static_cast<uint64_t>(v); });
  }
  HN_DEVICE void finish(int64_t output, State s) const { y.store(output, static_cast<int64_t>(s)); }
};

/// Below, or equal to, everything.
template <class Value>
HN_DEVICE Value lowest() {
  if constexpr (std::is_same_v<Value, float>) {
    return ptx::bits_float(0xff800000u);
  } else {
    return INT64_MIN;
  }
}

/// The largest element, or the smallest, which is the largest in reversed order. NaN wins.
template <class Value>
struct ExtremeFold {
  static constexpr bool kFloat = std::is_same_v<Value, float>;
  using State = Value;
  using Aside = Nothing;
  bool smallest;
  std::conditional_t<kFloat, AnyOut, IntOut> y;

  HN_DEVICE static State identity() { return lowest<Value>(); }
  HN_DEVICE static State join(State a, State b) { return Max{}(a, b); }
  HN_DEVICE Aside aside(int64_t) const { return {}; }
  HN_DEVICE Value turned(Value v) const {
    if constexpr (kFloat) {
      return smallest ? -v : v;
    } else {
      return smallest ? ~v : v;  // the lowest integer has no opposite
    }
  }
  template <class Fn>
  HN_DEVICE void choose(Fn&& fn) const {
    fn([this](State& best, Value v, int64_t, Aside) { best = join(best, turned(v)); });
  }
  HN_DEVICE void finish(int64_t output, State best) const { y.store(output, turned(best)); }
};

/// The first of the largest elements, or the first NaN, and its index.
template <class Value>
struct PlacedValue {
  Value value;
  std::conditional_t<sizeof(Value) == sizeof(int64_t), int64_t, int32_t> index;  // -1: none yet; leaves no gap
};

template <class Value>
struct ArgmaxFold {
  using State = PlacedValue<Value>;
  using Aside = Nothing;
  int32_t* y;

  HN_DEVICE static State identity() { return {lowest<Value>(), -1}; }
  HN_DEVICE static bool beats(Value next, Value best) { return next > best || (next != next && best == best); }
  HN_DEVICE static State join(const State& a, const State& b) {
    if (a.index < 0 || b.index < 0) return a.index < 0 ? b : a;
    if (beats(b.value, a.value)) return b;
    return beats(a.value, b.value) || a.index < b.index ? a : b;
  }
  HN_DEVICE Aside aside(int64_t) const { return {}; }
  template <class Fn>
  HN_DEVICE void choose(Fn&& fn) const {
    fn([](State& best, Value v, int64_t index, Aside) {
      // A thread meets its elements in order: of equal ones the first stays.
      if (best.index < 0 || beats(v, best.value)) best = {v, static_cast<decltype(best.index)>(index)};
    });
  }
  HN_DEVICE void finish(int64_t output, const State& best) const { y[output] = static_cast<int32_t>(best.index); }
};

}  // namespace hn::cuda
