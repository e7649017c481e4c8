// Picks the type an op computes in from the type its tensors are stored in.
#pragma once

#include "core/status.h"
#include "core/tensor_view.h"

namespace hn::cpu::HN_ISA {

/// Calls fn(Acc{}): double for f64, float for every other float type.
template <class Fn>
Status with_float_acc(DType storage, Fn&& fn) {
  if (!is_float(storage)) return Status::invalid("expected a float type");
  return storage == DType::f64 ? fn(double{}) : fn(float{});
}

/// The same, and int64_t for integers and bool.
template <class Fn>
Status with_acc(DType storage, Fn&& fn) {
  if (!is_float(storage)) return fn(int64_t{});
  return storage == DType::f64 ? fn(double{}) : fn(float{});
}

/// Work is dealt out in chunks of about this many elements: large enough to hide the dealing, and fixed, so that
/// results do not depend on the number of threads.
constexpr int64_t kChunkElements = 1 << 15;

/// Rows of `width` elements in a chunk, at least one.
constexpr int64_t rows_per_chunk(int64_t width) {
  return width >= kChunkElements ? 1 : kChunkElements / (width > 0 ? width : 1);
}

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace hn::cpu::HN_ISA
