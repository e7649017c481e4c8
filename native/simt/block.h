// One block on its way: threads, warps, barriers, shared memory, and the scheduler that lets one thread run at a time.
//
// A thread starts as a plain call on whatever fiber is free, and keeps that fiber only when it has to wait: a kernel
// without barriers runs all its threads on one stack, without a switch. Which warp and which lane goes on next is drawn
// from a seeded generator (HUNYUAN_SIMT_SEED; 0 runs them in order).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "simt/fiber.h"
#include "simt/kernel_api.h"
#include "simt/kernel_api_sm90.h"
#include "simt/sanitizer.h"
#include "simt/shared_memory.h"

namespace hn::simt {

constexpr int kWarpLanes = 32;
constexpr int kMaxThreads = 1024;
constexpr int kMaxWarps = kMaxThreads / kWarpLanes;
constexpr int kBarriers = 16;

enum class Wait : uint8_t { ready, barrier, mbarrier, collective, ended };
enum class WarpOp : uint8_t { sync, shuffle, ballot, ldmatrix, mma, wgmma_wait, elect };
const char* name_of(WarpOp op);

/// A cp.async that has been issued and not waited for.
struct PendingCopy {
  uint32_t dst;
  int bytes, src_bytes;
  const void* src;
  int64_t group;
};

/// A tile on its way, in either direction.
struct PendingTile {
  TensorMap map;
  uint32_t shared, barrier;  // a store has no barrier
  int at[kMaxRank];
  int64_t group;  // of stores
};

/// A wgmma that has been issued and not waited for.
struct PendingWgmma : Wgmma {
  int64_t group;
  bool starts;               // no earlier one in flight has the same sums
  std::vector<float> saved;  // what the sums were before; while it is in flight they are NaN
};

/// An mbarrier as it lies in shared memory.
struct MBarrier {
  int32_t bytes;  // still expected; below zero when they come before they are announced
  uint32_t pending : 12, expected : 12, phase : 1, mark : 7;
};

struct Thread : Position {
  int warp = 0, lane = 0;
  Fiber* fiber = nullptr;  // while it runs or waits
  Wait wait = Wait::ready;
  WarpOp op{};           // what it waits for, for reports
  uint32_t wait_on = 0;  // number of the barrier, address of the mbarrier, mask of the collective
  uint32_t parity = 0;   // of the mbarrier's phase it waits for
  std::vector<PendingCopy> copies;
  int64_t copy_group = 0;
  std::vector<PendingTile> stores;
  int64_t store_group = 0;
  std::vector<PendingWgmma> wgmmas;
  int64_t wgmma_group = 0;
  sanitizer::Clocks clocks;
};

/// A warp-wide operation that some lanes have reached. Disjoint masks may be under way together.
struct Collective {
  sanitizer::Meeting meeting;
  uint32_t round = 0;
  uint32_t arrived = 0, mask = 0;
  WarpOp op{};
  void* args[kWarpLanes];
};

struct Warp {
  uint32_t ready = 0, live = 0;
  Collective collectives[kWarpLanes];  // by the lowest lane of the mask
  sanitizer::Meeting wgmma_done;
};

struct Barrier {
  sanitizer::Meeting meeting;
  uint32_t round = 0;
  int expected = 0, arrived = 0;
  int votes = 0, last_votes = 0;  // of barrier_count: this round's, the last one's
  uint32_t waiting[kMaxWarps] = {};
};

using ExecuteCollective = void (*)(void* const* args, uint32_t mask);

class Block {
 public:
  Block();

  struct Job {
    const Launch* launch;
    void (*body)(const void* call);
    const void* call;
    uint64_t seed;
  };
  /// Runs one block to its end; "" or what went wrong. The report is on stderr by then.
  std::string run(const Job& job, int64_t index);

  /// The block and the thread that run on this thread of the host; only while a kernel runs.
  static Block& current();
  Thread& self() { return *self_; }

  /// Ends the block with a report. Fibers are left as they stand.
  [[noreturn]] void fail(const char* format, ...) __attribute__((format(printf, 2, 3)));

  void sync(int id, int threads);
  void arrive(int id, int threads);
  int count(bool predicate);
  /// The last lane of `mask` to arrive executes; the others wait for it.
  void collect(uint32_t mask, WarpOp op, void* arg, ExecuteCollective execute);

  /// The mbarrier at this address of shared memory; an error when there is none.
  MBarrier& mbarrier(uint32_t address);
  void wait_for(uint32_t mbarrier, uint32_t parity);
  /// Turns to the next phase when nothing is missing any more.
  void turn_if_complete(uint32_t mbarrier);

  void start_load(const PendingTile& load);
  void store_tiles(int pending);
  Thread& lane_of_my_warp(int lane) { return threads_[self_->warp * kWarpLanes + lane]; }
  sanitizer::Meeting& wgmma_done() { return warps_[self_->warp].wgmma_done; }
  void warp_sync(uint32_t mask);
  void join_proxies() { sanitizer::generic_to_async(self_->clocks, &proxies_); }

  SharedMemory shared;

 private:
  static void fiber_main();
  void start(const Job& job, int64_t index);
  void finish();
  void end_thread();

  /// Copies that are under way may arrive now; one has to when nobody can run.
  void deliver_loads();
  void deliver(const PendingTile& load);
  Fiber* fiber_for(const Thread& thread);
  void make_ready(int warp, uint32_t lanes);
  /// The thread to run next, of `preferred` warp if it has one; nullptr when all have ended.
  Thread* next(int preferred);
  void resume(Thread& thread);
  void wait(Wait kind, uint32_t on, int preferred_warp);
  /// Sometimes lets others go first, where a real scheduler might.
  void perhaps_yield();
  void arrive_at(Barrier& barrier, int id, int threads);
  void open(Barrier& barrier);
  [[noreturn]] void report_deadlock();
  [[noreturn]] void leave();

  uint32_t draw();
  bool one_in(uint32_t n) { return random_ && n != 0 && draw() % n == 0; }
  static int pick_bit(uint32_t mask, uint32_t rotation);

  Job job_{};
  int64_t index_ = 0;
  int thread_count_ = 0, live_ = 0;
  uint32_t ready_warps_ = 0;
  Thread* self_ = nullptr;
  Continuation host_;
  FiberPool fibers_;
  std::string error_;

  bool random_ = false;
  uint64_t random_state_ = 1;
  uint32_t yield_one_in_ = 0, deliver_one_in_ = 0;

  std::vector<Thread> threads_;
  Warp warps_[kMaxWarps];
  Barrier barriers_[kBarriers];
  std::vector<PendingTile> loads_;

  // For race detection: the clock of the host, agents that carry TMA's loads, where clocks meet.
  static constexpr int kAgents = 64;
  void* host_clock_ = nullptr;
  void* agents_[kAgents] = {};
  int next_agent_ = 0;
  sanitizer::Meeting begin_, end_, proxies_, issue_;
};

}  // namespace hn::simt
