// The queue of one lane: one thread submits, one thread (the lane's) takes records in order. Built so that a push costs
// tens of nanoseconds: no lock, and no system call unless the lane's thread has gone to sleep.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "core/platform/threads.h"
#include "core/record.h"

namespace hn {

class LaneQueue {
 public:
  /// Records that may wait on one lane. At about 3 KiB each this bounds the host's memory at 200 MB; a training step of
  /// the full model is some ten thousand.
  static constexpr uint64_t kCapacity = uint64_t{1} << 16;

  LaneQueue() : ring_(new Record*[kCapacity]) {}
  LaneQueue(const LaneQueue&) = delete;
  LaneQueue& operator=(const LaneQueue&) = delete;

  // ---- The submitting thread ----
  /// A record to fill in, or nullptr when the queue is full. Nothing happens to it unless it is pushed.
  Record* draft();
  /// Publishes the draft under the next sequence number, which it had as `next_seq()`.
  void push(Record* record);
  uint64_t next_seq() const { return pushed_.load(std::memory_order_relaxed) + 1; }
  /// The record with this number, for numbers above `issued()`. Fields that a submit fills in stay readable even if the
  /// lane finishes it meanwhile: only the submitting thread recycles.
  Record* at(uint64_t seq) const { return ring_[seq % kCapacity]; }

  // ---- The lane's thread ----
  /// Waits for the next record; nullptr when the queue is stopped and empty.
  Record* wait_next();
  /// Tells that the record of `wait_next` is issued: its references are dropped, its memory may be recycled.
  void mark_issued();

  // ---- Any thread ----
  uint64_t pushed() const { return pushed_.load(std::memory_order_acquire); }
  uint64_t issued() const { return issued_.load(std::memory_order_acquire); }
  void wait_issued(uint64_t seq);
  /// From now on queued records are to be dropped, and `wait_next` ends after the last.
  void stop();
  bool stopping() const { return stopping_.load(std::memory_order_acquire); }

 private:
  std::unique_ptr<Record*[]> ring_;
  std::vector<std::unique_ptr<Record>> records_;  // all that were ever made
  std::vector<Record*> free_;
  uint64_t recycled_ = 0;  // records up to here went back to free_

  // Both sleepers follow one pattern: announce, look again, sleep; the waker publishes, then looks for sleepers. The
  // four accesses are sequentially consistent, so that one of the two always sees the other.
  alignas(64) std::atomic<uint64_t> pushed_{0};
  std::atomic<bool> asleep_{false};
  alignas(64) std::atomic<uint64_t> issued_{0};
  std::atomic<int> issue_waiters_{0};
  std::atomic<bool> stopping_{false};
  platform::Mutex mutex_;
  platform::CondVar pushed_changed_, issued_changed_;
};

}  // namespace hn
