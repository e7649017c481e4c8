// Written by `npm run gen`; do not edit.
#pragma once

#include "core/op_call.h"

namespace hn {

/// parts placed along an axis of `size` elements, each from its start on; zeros between them
struct ConcatArgs {
  TensorList parts;
  TensorView y;
  int64_t axis;
  int64_t size;
  IntList starts;
};

inline ConcatArgs decode_concat(const OpCall& call) {
  CallReader in(call);
  ConcatArgs a{};
  a.parts = in.list();
  a.y = in.tensor();
  a.axis = in.integer();
  a.size = in.integer();
  a.starts = in.integers();
  return a;
}

}  // namespace hn
