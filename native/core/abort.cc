// Cancelling queued records. It runs on the submitting thread, which alone recycles records: what it reads of a record
// (order, uses) stays in place even if a lane finishes that record meanwhile. Cancelling such a one has no effect.

#include <unordered_set>

#include "core/device.h"

namespace hn {
namespace {

/// Walks the queued records of both lanes from the newest to the oldest.
class Backwards {
 public:
  explicit Backwards(const LaneQueue* (&queues)[kLaneCount]) {
    for (int lane = 0; lane < kLaneCount; ++lane) {
      queues_[lane] = queues[lane];
      seq_[lane] = queues[lane]->pushed();
      first_[lane] = queues[lane]->issued() + 1;
    }
  }

  Record* next() {
    Record* newest = nullptr;
    for (int lane = 0; lane < kLaneCount; ++lane) {
      if (seq_[lane] < first_[lane]) continue;
      Record* record = queues_[lane]->at(seq_[lane]);
      if (!newest || record->order > newest->order) newest = record;
    }
    if (newest) --seq_[newest->lane];
    return newest;
  }

 private:
  const LaneQueue* queues_[kLaneCount];
  uint64_t seq_[kLaneCount], first_[kLaneCount];
};

void cancel(Record& record) { record.cancelled.store(true, std::memory_order_relaxed); }

void cancel_all(Backwards records) {
  while (Record* record = records.next()) cancel(*record);
}

/// Cancels the records that lead to the tensor that `read` waits for, except where other queued work needs what they
/// write: two chains that begin with one tensor are two, and so are two reads of one tensor.
void cancel_leading_to(Record& read, Backwards records) {
  std::unordered_set<const Storage*> wanted, needed;  // by what is cancelled, and by what stays
  while (Record* record = records.next()) {
    if (record->cancelled.load(std::memory_order_relaxed)) continue;
    bool drop = record == &read;
    for (const TensorUse& use : record->uses) drop |= use.written && wanted.contains(use.storage);
    for (const TensorUse& use : record->uses) drop &= !(use.written && needed.contains(use.storage));
    if (drop) cancel(*record);
    for (const TensorUse& use : record->uses) (drop ? wanted : needed).insert(use.storage);
  }
}

}  // namespace

bool Device::abort(uint64_t ticket) {
  const LaneQueue* queues[kLaneCount] = {&lanes_[0].queue, &lanes_[1].queue};
  const Backwards all(queues);
  Backwards records = all;
  Record* record = records.next();
  while (record && record->order > ticket) record = records.next();
  if (!record || record->order != ticket) return false;
  if (record->kind == RecordKind::sync) {
    cancel(*record);
    cancel_all(records);
  } else if (record->kind == RecordKind::download) {
    cancel_leading_to(*record, all);
  }
  return true;
}

}  // namespace hn
