// Written by `npm run gen`; do not edit.
#pragma once

#include "core/op_call.h"

namespace hn {

/// y = fn(a, b) with broadcasting; `scalar` stands for the operand that is not given
struct BinaryArgs {
  enum class Fn : int32_t { add, sub, mul, div, minimum, maximum };
  TensorView a;
  TensorView b;
  TensorView y;
  Fn fn;
  double scalar;
};

/// gradients of binary at the broadcast shape, for the functions whose gradient is not arithmetic itself
struct BinaryBackwardArgs {
  enum class Fn : int32_t { div, minimum, maximum };
  TensorView dy;
  TensorView a;
  TensorView b;
  TensorView da;
  TensorView db;
  Fn fn;
  double scalar;
  bool want_a;
  bool want_b;
};

/// y = fn(a, b) as bool, with broadcasting; `scalar` stands for the operand that is not given
struct CompareArgs {
  enum class Fn : int32_t { equal, not_equal, less, less_equal, greater, greater_equal };
  TensorView a;
  TensorView b;
  TensorView y;
  Fn fn;
  double scalar;
};

/// y = a where cond, else b, with broadcasting; `scalar` stands for the one of a and b that is not given
struct WhereArgs {
  TensorView cond;
  TensorView a;
  TensorView b;
  TensorView y;
  double scalar;
};

inline BinaryArgs decode_binary(const OpCall& call) {
  CallReader in(call);
  BinaryArgs a{};
  a.a = in.tensor();
  a.b = in.tensor();
  a.y = in.tensor();
  a.fn = static_cast<BinaryArgs::Fn>(in.integer());
  a.scalar = in.number();
  return a;
}

inline BinaryBackwardArgs decode_binary_backward(const OpCall& call) {
  CallReader in(call);
  BinaryBackwardArgs a{};
  a.dy = in.tensor();
  a.a = in.tensor();
  a.b = in.tensor();
  a.da = in.tensor();
  a.db = in.tensor();
  a.fn = static_cast<BinaryBackwardArgs::Fn>(in.integer());
  a.scalar = in.number();
  a.want_a = in.integer() != 0;
  a.want_b = in.integer() != 0;
  return a;
}

inline CompareArgs decode_compare(const OpCall& call) {
  CallReader in(call);
  CompareArgs a{};
  a.a = in.tensor();
  a.b = in.tensor();
  a.y = in.tensor();
  a.fn = static_cast<CompareArgs::Fn>(in.integer());
  a.scalar = in.number();
  return a;
}

inline WhereArgs decode_where(const OpCall& call) {
  CallReader in(call);
  WhereArgs a{};
  a.cond = in.tensor();
  a.a = in.tensor();
  a.b = in.tensor();
  a.y = in.tensor();
  a.scalar = in.number();
  return a;
}

}  // namespace hn
