// Rows of any storage type to and from the type kernels compute in: float, double, or int64_t for integer ops.
//
// Rounding is to nearest even, once (double to bf16 does not pass through a rounded float). NaN stays NaN; f8e4m3 has
// no inf, so what rounds beyond 448 becomes NaN, as in PyTorch. Float to integer truncates and saturates, NaN gives 0;
// to bool is "not zero". Subnormals of f16 and f8e4m3 are kept; those of f32 and bf16 pass unchanged between the two,
// but arithmetic and double conversions on the pool's threads flush them.
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace hn::cpu::HN_ISA {

/// `stride` is the distance of two elements of the storage side, in elements; the Acc side is dense.
template <class Acc>
using LoadRow = void (*)(const void* src, int64_t stride, int64_t n, Acc* dst);
template <class Acc>
using StoreRow = void (*)(void* dst, int64_t stride, int64_t n, const Acc* src);

/// For Acc in {float, double, int64_t} and every DType. Look them up once per op, not per row.
template <class Acc>
LoadRow<Acc> load_row(DType type);
template <class Acc>
StoreRow<Acc> store_row(DType type);

template <class Acc>
constexpr DType kAccType = DType::i64;
template <>
inline constexpr DType kAccType<float> = DType::f32;
template <>
inline constexpr DType kAccType<double> = DType::f64;

/// A dense row as Acc: the row itself when it is of that type already, else `scratch` (n elements) filled.
template <class Acc>
inline const Acc* row_in(DType type, const void* src, int64_t n, Acc* scratch) {
  if (type == kAccType<Acc>) return static_cast<const Acc*>(src);
  load_row<Acc>(type)(src, 1, n, scratch);
  return scratch;
}

}  // namespace hn::cpu::HN_ISA
