// Written by `npm run gen`; do not edit.
#pragma once

#include "core/op_call.h"

namespace hn {

/// y[i] = start + i · step, computed in f64
struct ArangeArgs {
  enum class Dtype : int32_t { f32, f64, f16, bf16, f8e4m3, i32, i64, u8, bool_ };
  TensorView y;
  double start;
  double step;
  Dtype dtype;
  int64_t length;
};

/// y = value everywhere
struct FillArgs {
  enum class Dtype : int32_t { f32, f64, f16, bf16, f8e4m3, i32, i64, u8, bool_ };
  TensorView y;
  double value;
  Dtype dtype;
  IntList shape;
};

inline ArangeArgs decode_arange(const OpCall& call) {
  CallReader in(call);
  ArangeArgs a{};
  a.y = in.tensor();
  a.start = in.number();
  a.step = in.number();
  a.dtype = static_cast<ArangeArgs::Dtype>(in.integer());
  a.length = in.integer();
  return a;
}

inline FillArgs decode_fill(const OpCall& call) {
  CallReader in(call);
  FillArgs a{};
  a.y = in.tensor();
  a.value = in.number();
  a.dtype = static_cast<FillArgs::Dtype>(in.integer());
  a.shape = in.integers();
  return a;
}

}  // namespace hn
