// Launches that answered ok and whose kernels found bad data later, and what may have come of them in the meantime.
//
// Each storage knows the order of the youngest launch among its ancestors that looks at data (Storage::checked; 0:
// none). When the fault of launch N is found, everything issued by then, up to order K, may depend on it: a storage
// whose `checked` is in N … K is taken for spoiled. What is issued later has its inputs looked at first.
#pragma once

#include <atomic>
#include <vector>

#include "core/error.h"
#include "core/platform/threads.h"

namespace hn {

class FaultLog {
 public:
  /// A lane's thread is about to issue the record; before it looks at the record's inputs.
  void begin(int lane, uint64_t order) { issuing_[lane].store(order, std::memory_order_seq_cst); }
  /// The launch of this order has failed, and nothing issued so far knew it.
  void add(uint64_t order, ErrorPtr error);
  /// The error that spoils a storage with this `checked`; null when it is fine.
  ErrorPtr find(uint64_t checked) const {
    return checked == 0 || count_.load(std::memory_order_seq_cst) == 0 ? nullptr : search(checked);
  }

 private:
  struct Fault {
    uint64_t first, last;
    ErrorPtr error;
  };

  ErrorPtr search(uint64_t checked) const;

  // A lane announces its record, then looks for faults; `add` announces the fault, then looks how far the lanes are.
  // All four are sequentially consistent, so one of the two sees the other.
  std::atomic<uint64_t> issuing_[2] = {};
  std::atomic<uint64_t> count_{0};
  mutable platform::Mutex mutex_;
  std::vector<Fault> faults_;  // each was an error that somebody was told: few
};

}  // namespace hn
