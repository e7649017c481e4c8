// Barriers of a block: __syncthreads is number 0 for all threads; the named ones are for parts of a block.
#include "simt/block.h"

namespace hn::simt {

void Block::arrive_at(Barrier& barrier, int id, int threads) {
  if (id < 0 || id >= kBarriers) fail("barrier %d does not exist", id);
  if (threads == kAllThreads) threads = thread_count_;
  if (threads % kWarpLanes != 0 && threads != thread_count_)
    fail("barrier %d: %d threads are no whole warps", id, threads);
  if (threads == thread_count_ && live_ != thread_count_) {
    fail("barrier %d is for all threads, but %d have ended", id, thread_count_ - live_);
  }
  if (barrier.arrived > 0 && barrier.expected != threads) {
    fail("barrier %d: some came for %d threads, some for %d", id, barrier.expected, threads);
  }
  barrier.expected = threads;
  ++barrier.arrived;
}

void Block::open(Barrier& barrier) {
  barrier.arrived = 0;
  ++barrier.round;
  barrier.last_votes = barrier.votes;
  barrier.votes = 0;
  for (int w = 0; w * kWarpLanes < thread_count_; ++w) {
    make_ready(w, barrier.waiting[w]);
    barrier.waiting[w] = 0;
  }
}

void Block::sync(int id, int threads) {
  Barrier& barrier = barriers_[id & (kBarriers - 1)];
  Thread& me = self();
  arrive_at(barrier, id, threads);
  void* const place = sanitizer::place_of(&barrier.meeting, barrier.round);
  sanitizer::publish(me.clocks, place);
  if (barrier.arrived == barrier.expected) {
    open(barrier);
    perhaps_yield();
  } else {
    barrier.waiting[me.warp] |= 1u << me.lane;
    wait(Wait::barrier, static_cast<uint32_t>(id), me.warp);
  }
  sanitizer::observe(me.clocks, place);
}

void Block::arrive(int id, int threads) {
  Barrier& barrier = barriers_[id & (kBarriers - 1)];
  arrive_at(barrier, id, threads);
  sanitizer::publish(self().clocks, sanitizer::place_of(&barrier.meeting, barrier.round));
  if (barrier.arrived == barrier.expected) open(barrier);
}

int Block::count(bool predicate) {
  Barrier& barrier = barriers_[0];
  barrier.votes += predicate ? 1 : 0;
  sync(0, kAllThreads);
  // Nobody can open it again before every thread has read this: that needs all of them.
  return barrier.last_votes;
}

void barrier_sync(int id, int threads) { Block::current().sync(id, threads); }
void barrier_arrive(int id, int threads) { Block::current().arrive(id, threads); }
int barrier_count(bool predicate) { return Block::current().count(predicate); }

}  // namespace hn::simt
