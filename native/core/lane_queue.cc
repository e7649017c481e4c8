#include "core/lane_queue.h"

namespace hn {
namespace {

// A sleeping thread costs the submitting one a system call (5 us) and itself some 50 us to wake: as long as ops follow
// one another closely, look out for the next instead.
constexpr int64_t kSpinNs = 30'000;

template <class Ready>
bool spin_until(Ready ready) {
  if (ready()) return true;
  const int64_t end = platform::monotonic_ns() + kSpinNs;
  do {
    for (int i = 0; i < 16; ++i) {
      platform::spin_pause();
      if (ready()) return true;
    }
  } while (platform::monotonic_ns() < end);
  return false;
}

}  // namespace

Record* LaneQueue::draft() {
  if (free_.empty()) {
    // In one go, and only when needed: `issued_` is a cache line that the lane's thread keeps writing.
    const uint64_t done = issued();
    while (recycled_ < done) free_.push_back(at(++recycled_));
  }
  if (free_.empty()) {
    if (next_seq() - 1 - recycled_ >= kCapacity) return nullptr;
    records_.push_back(std::make_unique<Record>());
    free_.push_back(records_.back().get());
  }
  return free_.back();
}

void LaneQueue::push(Record* record) {
  free_.pop_back();
  const uint64_t seq = next_seq();
  record->seq = seq;
  record->cancelled.store(false, std::memory_order_relaxed);
  ring_[seq % kCapacity] = record;
  pushed_.store(seq, std::memory_order_seq_cst);
  if (!asleep_.load(std::memory_order_seq_cst)) return;
  { platform::Lock lock(mutex_); }
  pushed_changed_.notify_one();
}

Record* LaneQueue::wait_next() {
  const uint64_t seq = issued_.load(std::memory_order_relaxed) + 1;
  auto ready = [&] { return pushed_.load(std::memory_order_acquire) >= seq || stopping(); };
  if (!spin_until(ready)) {
    platform::Lock lock(mutex_);
    asleep_.store(true, std::memory_order_seq_cst);
    pushed_changed_.wait(lock, [&] { return pushed_.load(std::memory_order_seq_cst) >= seq || stopping(); });
    asleep_.store(false, std::memory_order_relaxed);
  }
  // A stop comes after the last push, so a number seen after it is the final one.
  return pushed() >= seq ? at(seq) : nullptr;
}

void LaneQueue::mark_issued() {
  issued_.store(issued_.load(std::memory_order_relaxed) + 1, std::memory_order_seq_cst);
  if (issue_waiters_.load(std::memory_order_seq_cst) == 0) return;
  { platform::Lock lock(mutex_); }
  issued_changed_.notify_all();
}

void LaneQueue::wait_issued(uint64_t seq) {
  if (spin_until([&] { return issued() >= seq; })) return;
  platform::Lock lock(mutex_);
  issue_waiters_.fetch_add(1, std::memory_order_seq_cst);
  issued_changed_.wait(lock, [&] { return issued_.load(std::memory_order_seq_cst) >= seq; });
  issue_waiters_.fetch_sub(1, std::memory_order_relaxed);
}

void LaneQueue::stop() {
  {
    platform::Lock lock(mutex_);
    stopping_.store(true, std::memory_order_release);
  }
  pushed_changed_.notify_one();
}

}  // namespace hn
