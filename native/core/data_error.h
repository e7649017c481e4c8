// What is wrong with the values of a tensor that says where others are read: known only when the kernel runs. The words
// are the same whoever finds it: a CPU kernel answers them at once, a GPU's leaves the number behind (backend.h:
// take_fault).
#pragma once

#include "core/status.h"

namespace hn {

enum class DataError : uint8_t { none, index, label, cu_seqlens, cu_seqlens_k };

constexpr Status status_of(DataError error) {
  switch (error) {
    case DataError::none:
      return {};
    case DataError::index:
      return {Code::invalid_argument, "an index lies outside the axis that is gathered from"};
    case DataError::label:
      return {Code::invalid_argument, "a label is outside 0 … classes − 1"};
    case DataError::cu_seqlens:
      return {Code::invalid_argument, "cuSeqlens must start at 0, never fall and end within the queries"};
    case DataError::cu_seqlens_k:
      return {Code::invalid_argument, "cuSeqlensK must start at 0, never fall and end within the keys"};
  }
  return {Code::device_error, "a kernel refused its data without a known reason"};
}

}  // namespace hn
