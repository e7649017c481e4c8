// Which thread of a block runs, and from where to where control passes.
#include <bit>

#include "simt/block.h"

namespace hn::simt {

constinit thread_local const Position* here = nullptr;

namespace {

constinit thread_local Block* running = nullptr;

}  // namespace

Block::Block() : fibers_(fiber_main), threads_(kMaxThreads) {}

Block& Block::current() { return *running; }

std::string Block::run(const Job& job, int64_t index) {
  start(job, index);
  running = this;
  if (Thread* first = next(0)) {
    if (Fiber* fiber = fiber_for(*first)) {
      first->fiber = fiber;
      self_ = first;
      here = first;
      sanitizer::go_on_as(first->clocks.generic);
      host_.switch_to(*fiber);
    } else {
      error_ = "no memory for the stacks of the emulator's threads";
    }
  }
  if (error_.empty()) finish();
  running = nullptr;
  here = nullptr;
  if (!error_.empty()) fibers_.reset();
  return error_;
}

void Block::start(const Job& job, int64_t index) {
  job_ = job;
  index_ = index;
  error_.clear();
  thread_count_ = live_ = job.launch->threads;
  ready_warps_ = 0;
  random_ = job.seed != 0;
  random_state_ = (job.seed * 0x9e3779b97f4a7c15ull + static_cast<uint64_t>(index) * 0xd1b54a32d192ed03ull) | 1;
  for (int i = 0; i < 3; ++i) draw();
  // A block keeps to one temper, so that each is tried in pure form: warps that run far ahead of others, and warps that
  // take turns all the time.
  constexpr uint32_t kTempers[] = {0, 2, 8, 64};
  yield_one_in_ = random_ ? kTempers[draw() % 4] : 0;
  constexpr uint32_t kDelays[] = {0, 0, 2, 16};  // 0: as late as possible
  deliver_one_in_ = random_ ? kDelays[draw() % 4] : 0;

  shared.start(job.launch->smem_bytes);
  for (Barrier& barrier : barriers_) barrier = {};
  loads_.clear();
  const auto blocks = static_cast<unsigned>(job.launch->blocks);
  for (int i = 0; i < thread_count_; ++i) {
    Thread& t = threads_[i];
    t.thread = Dim3(static_cast<unsigned>(i));
    t.block = Dim3(static_cast<unsigned>(index));
    t.thread.y = t.thread.z = t.block.y = t.block.z = 0;
    t.block_dim = Dim3(static_cast<unsigned>(thread_count_));
    t.grid_dim = Dim3(blocks);
    t.warp = i / kWarpLanes;
    t.lane = i % kWarpLanes;
    t.fiber = nullptr;
    t.wait = Wait::ready;
    t.copies.clear();
    t.copy_group = t.store_group = t.wgmma_group = 0;
    t.stores.clear();
    t.wgmmas.clear();
    sanitizer::made(t.clocks.generic);
    sanitizer::made(t.clocks.async);
  }
  for (int w = 0; w * kWarpLanes < thread_count_; ++w) {
    const int lanes = std::min(kWarpLanes, thread_count_ - w * kWarpLanes);
    Warp& warp = warps_[w];
    warp.ready = warp.live = lanes == kWarpLanes ? ~0u : (1u << lanes) - 1;
    for (Collective& c : warp.collectives) c.arrived = 0;
    ready_warps_ |= 1u << w;
  }
  host_clock_ = sanitizer::this_clock();
  sanitizer::leave_at(sanitizer::generic_half(&begin_));
  sanitizer::leave_at(sanitizer::async_half(&begin_));
}

void Block::finish() {
  sanitizer::take_from(sanitizer::generic_half(&end_));
  const std::string damage = shared.check_red_zones();
  if (damage.empty()) return;
  error_ = std::string(job_.launch->kernel) + ": " + damage;
  std::fprintf(stderr, "simt: %s (block %lld)\n", error_.c_str(), static_cast<long long>(index_));
}

/// A fiber's life: it runs the thread it was woken for, then whatever thread has not started yet.
void Block::fiber_main() {
  for (;;) {
    Block& block = *running;
    sanitizer::observe(block.self_->clocks, &block.begin_);
    block.job_.body(block.job_.call);
    block.end_thread();
  }
}

void Block::end_thread() {
  Thread& me = *self_;
  Fiber* const fiber = me.fiber;
  if (!me.wgmmas.empty()) fail("the thread ends with a wgmma that it has not waited for");
  store_tiles(0);
  sanitizer::publish(me.clocks, &end_);
  me.wait = Wait::ended;
  me.fiber = nullptr;
  warps_[me.warp].live &= ~(1u << me.lane);
  --live_;
  Thread* const following = next(me.warp);
  if (!sanitizer::kRaces && following != nullptr && following->fiber == nullptr) {
    following->fiber = fiber;  // no switch: the loop of fiber_main goes round
    self_ = following;
    here = following;
    return;
  }
  if (!sanitizer::kRaces) fibers_.give_back(fiber);
  if (following == nullptr) {
    sanitizer::go_on_as(host_clock_);
    fiber->switch_to(host_);
  } else {
    if (following->fiber == nullptr) following->fiber = fiber_for(*following);
    if (following->fiber == nullptr) fail("no memory for the stacks of the emulator's threads");
    self_ = following;
    here = following;
    sanitizer::go_on_as(following->clocks.generic);
    fiber->switch_to(*following->fiber);
  }
  // Taken from the pool again: whoever switched here has set the thread to start.
}

uint32_t Block::draw() {
  uint64_t x = random_state_;
  x ^= x << 13;
  x ^= x >> 7;
  x ^= x << 17;
  random_state_ = x;
  return static_cast<uint32_t>(x >> 20);
}

/// A bit of `mask`: the first one from position `rotation` on.
int Block::pick_bit(uint32_t mask, uint32_t rotation) {
  const int start = static_cast<int>(rotation % 32);
  return (std::countr_zero(std::rotr(mask, start)) + start) % 32;
}

void Block::make_ready(int warp, uint32_t lanes) {
  if (lanes == 0) return;
  warps_[warp].ready |= lanes;
  ready_warps_ |= 1u << warp;
  for (uint32_t rest = lanes; rest != 0; rest &= rest - 1) {
    threads_[warp * kWarpLanes + std::countr_zero(rest)].wait = Wait::ready;
  }
}

/// Threads share stacks one after the other, which ThreadSanitizer would take for races: there each has its own.
Fiber* Block::fiber_for(const Thread& thread) {
  const sanitizer::Unseen unseen;
  return sanitizer::kRaces ? fibers_.own(static_cast<int>(thread.thread.x)) : fibers_.take();
}

Thread* Block::next(int preferred) {
  deliver_loads();
  if (ready_warps_ == 0) {
    if (live_ > 0) report_deadlock();
    return nullptr;
  }
  const uint32_t dice = random_ ? draw() : 0;
  const int warp = warps_[preferred].ready != 0 ? preferred : pick_bit(ready_warps_, dice);
  const int lane = pick_bit(warps_[warp].ready, dice >> 5);
  warps_[warp].ready &= ~(1u << lane);
  if (warps_[warp].ready == 0) ready_warps_ &= ~(1u << warp);
  return &threads_[warp * kWarpLanes + lane];
}

void Block::resume(Thread& thread) {
  Thread& me = *self_;
  if (&thread == &me) return;
  if (thread.fiber == nullptr) {
    thread.fiber = fiber_for(thread);
    if (thread.fiber == nullptr) fail("no memory for the stacks of the emulator's threads");
  }
  self_ = &thread;
  here = &thread;
  sanitizer::go_on_as(thread.clocks.generic);
  me.fiber->switch_to(*thread.fiber);
}

void Block::wait(Wait kind, uint32_t on, int preferred_warp) {
  Thread& me = *self_;
  me.wait = kind;
  me.wait_on = on;
  // Not nullptr: this thread lives.
  resume(*next(preferred_warp));
}

void Block::perhaps_yield() {
  if (!one_in(yield_one_in_)) return;
  Thread& me = *self_;
  make_ready(me.warp, 1u << me.lane);
  resume(*next(pick_bit(ready_warps_, draw())));
}

void Block::leave() {
  sanitizer::go_on_as(host_clock_);
  Continuation nowhere;
  nowhere.switch_to(host_);
  __builtin_unreachable();
}

}  // namespace hn::simt
