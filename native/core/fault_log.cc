#include "core/fault_log.h"

#include <algorithm>

namespace hn {

void FaultLog::add(uint64_t order, ErrorPtr error) {
  platform::Lock lock(mutex_);
  faults_.push_back({order, UINT64_MAX, std::move(error)});
  count_.store(faults_.size(), std::memory_order_seq_cst);
  uint64_t last = order;
  for (const auto& lane : issuing_) last = std::max(last, lane.load(std::memory_order_seq_cst));
  faults_.back().last = last;
}

ErrorPtr FaultLog::search(uint64_t checked) const {
  platform::Lock lock(mutex_);
  for (const Fault& fault : faults_) {
    if (fault.first <= checked && checked <= fault.last) return fault.error;
  }
  return nullptr;
}

}  // namespace hn
