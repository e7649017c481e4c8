// Written by `npm run gen`; do not edit.
#pragma once

#include "core/op_call.h"

namespace hn {

/// dense copy of x as it is walked (any strides, repeated or permuted axes), converted to `dtype`
struct CopyArgs {
  enum class Dtype : int32_t { f32, f64, f16, bf16, f8e4m3, i32, i64, u8, bool_ };
  TensorView x;
  TensorView y;
  Dtype dtype;
  IntList shape;
};

inline CopyArgs decode_copy(const OpCall& call) {
  CallReader in(call);
  CopyArgs a{};
  a.x = in.tensor();
  a.y = in.tensor();
  a.dtype = static_cast<CopyArgs::Dtype>(in.integer());
  a.shape = in.integers();
  return a;
}

}  // namespace hn
