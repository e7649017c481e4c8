// Element types: storage sizes and names, in the order that lib/tensor/dtype.ts uses.
#pragma once

#include <cstdint>

namespace hn {

enum class DType : int32_t { f32, f64, f16, bf16, f8e4m3, i32, i64, u8, boolean, count };

/// Sizes are computed only through blocks, so that quantised types (many elements a block) fit later.
struct DTypeInfo {
  const char* name;
  int32_t block_elements;
  int32_t block_bytes;
};

constexpr DTypeInfo kDTypes[static_cast<int>(DType::count)] = {
    {"f32", 1, 4}, {"f64", 1, 8}, {"f16", 1, 2}, {"bf16", 1, 2}, {"f8e4m3", 1, 1},
    {"i32", 1, 4}, {"i64", 1, 8}, {"u8", 1, 1},  {"bool", 1, 1},
};

constexpr const DTypeInfo& info(DType t) { return kDTypes[static_cast<int>(t)]; }
constexpr bool is_valid_dtype(int64_t code) { return code >= 0 && code < static_cast<int64_t>(DType::count); }
constexpr bool is_float(DType t) { return static_cast<int32_t>(t) <= static_cast<int32_t>(DType::f8e4m3); }

constexpr int64_t bytes_of(DType t, int64_t elements) {
  const DTypeInfo& d = info(t);
  return (elements + d.block_elements - 1) / d.block_elements * d.block_bytes;
}

}  // namespace hn
