// What every backend call answers. Messages are literals: a status costs nothing to make and owns nothing;
// the executor adds the op's name and shapes before a person reads it.
#pragma once

#include <cstdint>

namespace hn {

enum class Code : int32_t {
  ok,
  invalid_argument,
  out_of_memory,
  kernel_missing,
  device_error,  // the device itself failed (CUDA_ERROR and the like)
  aborted,
  disposed,
  file_error,  // a file could not be opened or is shorter than its header said
};

struct [[nodiscard]] Status {
  Code code = Code::ok;
  const char* message = "";

  bool ok() const { return code == Code::ok; }
  static Status invalid(const char* what) { return {Code::invalid_argument, what}; }
  static Status missing(const char* what) { return {Code::kernel_missing, what}; }
  static Status no_memory() { return {Code::out_of_memory, "no memory left under the device's limit"}; }
};

#define HN_RETURN_IF_ERROR(expr)                                            \
  do {                                                                      \
    if (::hn::Status hn_status = (expr); !hn_status.ok()) return hn_status; \
  } while (0)

}  // namespace hn
