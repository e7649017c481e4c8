// mbarriers: a phase is complete when all arrivals and all announced bytes have come.
#include <cstring>

#include "simt/block.h"

namespace hn::simt {
namespace {

constexpr uint32_t kMark = 0x5a;  // tells an mbarrier from other bytes
constexpr int kMaxCount = 4095;   // of the 12 bits here; hardware has 20

}  // namespace

static_assert(sizeof(MBarrier) == sizeof(uint64_t));

MBarrier& Block::mbarrier(uint32_t address) {
  if (address % sizeof(MBarrier) != 0) fail("mbarrier %u is not aligned to 8 bytes", address);
  auto* barrier = static_cast<MBarrier*>(shared.at(address, sizeof(MBarrier)));
  if (barrier == nullptr) fail("mbarrier %u is out of range", address);
  if (barrier->mark != kMark) fail("mbarrier %u is used before it is initialised, or has been written over", address);
  return *barrier;
}

void Block::turn_if_complete(uint32_t address) {
  MBarrier& barrier = mbarrier(address);
  if (barrier.pending != 0 || barrier.bytes != 0) return;
  barrier.phase ^= 1;
  barrier.pending = barrier.expected;
  for (int i = 0; i < thread_count_; ++i) {
    const Thread& t = threads_[i];
    if (t.wait == Wait::mbarrier && t.wait_on == address) make_ready(t.warp, 1u << t.lane);
  }
}

void Block::wait_for(uint32_t address, uint32_t parity) {
  perhaps_yield();
  Thread& me = self();
  for (;;) {
    MBarrier& barrier = mbarrier(address);
    sanitizer::read(&barrier, sizeof barrier);
    if (barrier.phase != parity) break;
    me.parity = parity;
    wait(Wait::mbarrier, address, me.warp);
  }
  sanitizer::observe(me.clocks, sanitizer::place_of(&mbarrier(address), parity));
}

void mbarrier_init(uint32_t address, int count) {
  Block& block = Block::current();
  if (address % sizeof(MBarrier) != 0) block.fail("mbarrier %u is not aligned to 8 bytes", address);
  if (count < 1 || count > kMaxCount) block.fail("an mbarrier for %d arrivals", count);
  auto* barrier = static_cast<MBarrier*>(block.shared.at(address, sizeof(MBarrier)));
  if (barrier == nullptr) block.fail("mbarrier %u is out of range", address);
  sanitizer::write(barrier, sizeof *barrier);
  const auto expected = static_cast<uint32_t>(count) & kMaxCount;
  *barrier = {.bytes = 0, .pending = expected, .expected = expected, .phase = 0, .mark = kMark};
}

void mbarrier_arrive(uint32_t address, int expect_bytes) {
  Block& block = Block::current();
  MBarrier& barrier = block.mbarrier(address);
  sanitizer::read(&barrier, sizeof barrier);
  sanitizer::publish(block.self().clocks, sanitizer::place_of(&barrier, barrier.phase));
  if (barrier.pending == 0)
    block.fail("mbarrier %u: more arrivals than the %u it waits for", address, barrier.expected);
  barrier.bytes += expect_bytes;
  --barrier.pending;
  block.turn_if_complete(address);
}

void mbarrier_wait(uint32_t address, uint32_t parity) { Block::current().wait_for(address, parity & 1); }

void fence_proxy_async() { Block::current().join_proxies(); }

}  // namespace hn::simt
