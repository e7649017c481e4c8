// What went wrong with a queued record, in words for a person. Made only when something fails, then shared by every
// tensor that depends on it and by the promise that tells it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "core/status.h"
#include "core/tensor_view.h"

namespace hn {

struct ErrorInfo {
  Code code;
  std::string message;
  std::string op;
};

using ErrorPtr = std::shared_ptr<const ErrorInfo>;

ErrorPtr make_error(Code code, std::string op, std::string message);

/// "1.2 GiB", "640 KiB", "12 B".
std::string format_bytes(uint64_t bytes);

/// "[1, 4096, 8, 128] f32".
std::string format_tensor(const TensorView& tensor);

}  // namespace hn
