// Operations that the lanes of a warp do together: they happen when the last lane of the mask arrives.
#include <bit>

#include "simt/block.h"

namespace hn::simt {

void Block::collect(uint32_t mask, WarpOp op, void* arg, ExecuteCollective execute) {
  Thread& me = self();
  Warp& warp = warps_[me.warp];
  const uint32_t my_bit = 1u << me.lane;
  if ((mask & my_bit) == 0) fail("%s: the calling lane is not in its mask %08x", name_of(op), mask);
  if ((mask & ~warp.live) != 0) {
    fail("%s: mask %08x names lanes that have ended or do not exist (live: %08x)", name_of(op), mask, warp.live);
  }
  Collective& c = warp.collectives[std::countr_zero(mask)];
  if (c.arrived == 0) {
    c.mask = mask;
    c.op = op;
  } else if (c.mask != mask || c.op != op) {
    fail("the warp has diverged: %s with mask %08x meets %s with mask %08x", name_of(op), mask, name_of(c.op), c.mask);
  }
  c.args[me.lane] = arg;
  c.arrived |= my_bit;
  if (c.arrived == mask) {
    {
      const sanitizer::Unseen unseen;
      execute(c.args, mask);
    }
    c.arrived = 0;
    ++c.round;
    make_ready(me.warp, mask & ~my_bit);
    perhaps_yield();
  } else {
    me.op = op;
    wait(Wait::collective, mask, me.warp);
  }
}

/// The one operation of a warp that orders memory: a shuffle does not.
void Block::warp_sync(uint32_t mask) {
  Thread& me = self();
  Collective& c = warps_[me.warp].collectives[std::countr_zero(mask) % kWarpLanes];
  void* const place = sanitizer::place_of(&c.meeting, c.round);
  sanitizer::publish(me.clocks, place);
  collect(mask, WarpOp::sync, nullptr, [](void* const*, uint32_t) {});
  sanitizer::observe(me.clocks, place);
}

void warp_sync(uint32_t mask) { Block::current().warp_sync(mask); }

bool elect() {
  Block& block = Block::current();
  block.collect(0xffffffffu, WarpOp::elect, nullptr, [](void* const*, uint32_t) {});
  return block.self().lane == 0;
}

namespace {

struct ShuffleArg {
  uint64_t value, result;
  int source;
};

struct BallotArg {
  bool predicate;
  uint32_t result;
};

}  // namespace

uint64_t shuffle(uint32_t mask, uint64_t value, int source) {
  ShuffleArg mine{value, value, source};
  if (source < 0 || source >= kWarpLanes || (mask >> source & 1) == 0) {
    Block::current().fail("shuffle: reads lane %d, which is not in the mask %08x", source, mask);
  }
  Block::current().collect(mask, WarpOp::shuffle, &mine, [](void* const* args, uint32_t lanes) {
    for (uint32_t rest = lanes; rest != 0; rest &= rest - 1) {
      auto* arg = static_cast<ShuffleArg*>(args[std::countr_zero(rest)]);
      arg->result = static_cast<const ShuffleArg*>(args[arg->source])->value;
    }
  });
  return mine.result;
}

uint32_t ballot(uint32_t mask, bool predicate) {
  BallotArg mine{predicate, 0};
  Block::current().collect(mask, WarpOp::ballot, &mine, [](void* const* args, uint32_t lanes) {
    uint32_t votes = 0;
    for (uint32_t rest = lanes; rest != 0; rest &= rest - 1) {
      const int lane = std::countr_zero(rest);
      if (static_cast<const BallotArg*>(args[lane])->predicate) votes |= 1u << lane;
    }
    for (uint32_t rest = lanes; rest != 0; rest &= rest - 1) {
      static_cast<BallotArg*>(args[std::countr_zero(rest)])->result = votes;
    }
  });
  return mine.result;
}

}  // namespace hn::simt
