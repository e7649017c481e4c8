// Reads an OpCall in declared order. The generated decoders (generated/ops.h) are its only users.
#pragma once

#include "core/backend.h"

namespace hn {

/// A list attribute, as it stands in the record.
struct IntList {
  const double* values = nullptr;
  int32_t count = 0;

  int64_t operator[](int32_t i) const { return static_cast<int64_t>(values[i]); }
};

class CallReader {
 public:
  explicit CallReader(const OpCall& call) : count_(call.arg_counts), tensor_(call.tensors), attr_(call.attrs) {}

  TensorView tensor() { return *count_++ == 0 ? TensorView{} : *tensor_++; }
  TensorList list() {
    TensorList items{tensor_, *count_++};
    tensor_ += items.count;
    return items;
  }
  double number() { return *attr_++; }
  int64_t integer() { return static_cast<int64_t>(*attr_++); }
  IntList integers() {
    IntList items{attr_ + 1, static_cast<int32_t>(*attr_)};
    attr_ += items.count + 1;
    return items;
  }

 private:
  const int32_t* count_;
  const TensorView* tensor_;
  const double* attr_;
};

}  // namespace hn
