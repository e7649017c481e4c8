// What is said when a kernel goes wrong.
#include <cstdarg>
#include <cstdio>

#include "simt/block.h"

namespace hn::simt {

const char* name_of(WarpOp op) {
  switch (op) {
    case WarpOp::sync:
      return "__syncwarp";
    case WarpOp::shuffle:
      return "shuffle";
    case WarpOp::ballot:
      return "ballot";
    case WarpOp::ldmatrix:
      return "ldmatrix";
    case WarpOp::mma:
      return "mma.sync";
    case WarpOp::wgmma_wait:
      return "wgmma.wait_group";
    case WarpOp::elect:
      return "elect.sync";
  }
  return "";
}

void Block::fail(const char* format, ...) {
  char text[512];
  va_list args;
  va_start(args, format);
  std::vsnprintf(text, sizeof text, format, args);
  va_end(args);
  const Thread& me = *self_;
  error_ = std::string(job_.launch->kernel) + ": " + text;
  std::fprintf(stderr, "simt: %s\n  at block %lld, thread %u (warp %d, lane %d), HUNYUAN_SIMT_SEED=%llu\n",
               error_.c_str(), static_cast<long long>(index_), me.thread.x, me.warp, me.lane,
               static_cast<unsigned long long>(job_.seed));
  leave();
}

void Block::report_deadlock() {
  std::fprintf(stderr, "simt: deadlock in %s, block %lld; its threads:\n", job_.launch->kernel,
               static_cast<long long>(index_));
  const auto same = [](const Thread& a, const Thread& b) {
    return a.warp == b.warp && a.wait == b.wait && a.wait_on == b.wait_on && a.parity == b.parity && a.op == b.op;
  };
  for (int i = 0; i < thread_count_; ++i) {
    const Thread& t = threads_[i];
    if (i > 0 && same(t, threads_[i - 1])) continue;
    int last = i;
    while (last + 1 < thread_count_ && same(t, threads_[last + 1])) ++last;
    std::fprintf(stderr, "  %d to %d (warp %d): ", i, last, t.warp);
    if (t.wait == Wait::barrier) {
      const Barrier& barrier = barriers_[t.wait_on];
      std::fprintf(stderr, "at barrier %u, where %d of %d have arrived\n", t.wait_on, barrier.arrived,
                   barrier.expected);
    } else if (t.wait == Wait::mbarrier) {
      const MBarrier& barrier = mbarrier(t.wait_on);
      std::fprintf(
          stderr,
          "at mbarrier %u for the phase of parity %u; it is in a phase of parity %u, where %u of %u arrivals and "
          "%d bytes are missing\n",
          t.wait_on, t.parity, barrier.phase, barrier.pending, barrier.expected, barrier.bytes);
    } else if (t.wait == Wait::collective) {
      std::fprintf(stderr, "at %s with mask %08x\n", name_of(t.op), t.wait_on);
    } else {
      std::fprintf(stderr, "%s\n", t.wait == Wait::ended ? "ended" : "ready");
    }
  }
  fail("deadlock: every thread that has not ended waits");
}

}  // namespace hn::simt
