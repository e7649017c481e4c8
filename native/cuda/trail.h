// Which ops a lane has been given that it may still be at. CUDA tells that a kernel went wrong, not which: the report
// names these.
#pragma once

#include <algorithm>
#include <string>

#include "core/generated/ops.h"
#include "core/platform/threads.h"

namespace hn::cuda {

class Trail {
 public:
  void launched(uint32_t op) {
    platform::Lock lock(mutex_);
    ops_[count_++ % kKept] = op;
  }
  /// How many launches there have been.
  uint64_t count() const {
    platform::Lock lock(mutex_);
    return count_;
  }
  /// The first `count` of them are done.
  void passed(uint64_t count) {
    platform::Lock lock(mutex_);
    passed_ = std::max(passed_, count);
  }
  /// Adds the names of those that are not, youngest first, each once and after a comma.
  void name(std::string* names) const {
    platform::Lock lock(mutex_);
    for (uint64_t back = 1; back <= std::min(count_ - passed_, kKept); ++back) {
      const std::string name = kOpNames[ops_[(count_ - back) % kKept]];
      if ((*names + ",").find(", " + name + ",") == std::string::npos) *names += ", " + name;
    }
  }

 private:
  static constexpr uint64_t kKept = 32;

  mutable platform::Mutex mutex_;
  uint64_t count_ = 0, passed_ = 0;
  uint32_t ops_[kKept] = {};
};

}  // namespace hn::cuda
