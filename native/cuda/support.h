// Which types each op has a kernel for. A family declares its ops beside their launchers:
//
//   HN_SUPPORTS(rms_norm, kFloat32 | kBFloat16 | kFloat16);
//
// The type asked about is that of the op's first tensor (BackendTable::supports): the table refuses a launch at any
// other type before the launcher is called. What the other tensors may be is the launcher's to check; it answers
// Status::missing for a combination that it lacks. Docs and tests ask the backend (`supports`), never this file.
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace hn::cuda {

/// A set of element types.
struct DTypeSet {
  uint32_t bits = 0;

  constexpr bool has(DType t) const { return bits >> static_cast<int>(t) & 1u; }
  constexpr DTypeSet operator|(DTypeSet other) const { return {bits | other.bits}; }
};

constexpr DTypeSet only(DType t) { return {1u << static_cast<int>(t)}; }

constexpr DTypeSet kFloat32 = only(DType::f32), kFloat64 = only(DType::f64), kFloat16 = only(DType::f16),
                   kBFloat16 = only(DType::bf16), kFloat8 = only(DType::f8e4m3), kInt32 = only(DType::i32),
                   kInt64 = only(DType::i64), kUInt8 = only(DType::u8), kBool = only(DType::boolean);
/// The types that models compute in.
constexpr DTypeSet kFloats = kFloat32 | kBFloat16 | kFloat16;
constexpr DTypeSet kInts = kInt32 | kInt64 | kUInt8;
constexpr DTypeSet kAllTypes = kFloats | kFloat64 | kFloat8 | kInts | kBool;

}  // namespace hn::cuda

/// At namespace scope hn::cuda, once an op.
#define HN_SUPPORTS(op, set)                       \
  extern const ::hn::cuda::DTypeSet supports_##op; \
  const ::hn::cuda::DTypeSet supports_##op = set
