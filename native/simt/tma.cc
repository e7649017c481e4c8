// TMA: tiles between global and shared memory. A load turns its destination to NaN when it is issued and arrives at a
// random moment, or when nobody can run; a store reads its source in the wait for it, or when the thread ends.
#include <algorithm>
#include <cstring>

#include "simt/block.h"
#include "simt/swizzle.h"

namespace hn::simt {
namespace {

constexpr int kChunk = 16;  // bytes that a swizzle keeps together

/// 16 bytes of the tile: where they lie on both sides, and which of them are inside of the tensor.
struct Chunk {
  unsigned char* shared;
  unsigned char* global;
  int begin, end;  // no bytes inside: begin == end
};

int row_bytes(const TensorMap& map) { return map.tile[0] * map.element_bytes; }

int64_t tile_rows(const TensorMap& map) {
  int64_t rows = 1;
  for (int i = 1; i < map.rank; ++i) rows *= map.tile[i];
  return rows;
}

int64_t tile_bytes(const TensorMap& map) { return tile_rows(map) * row_bytes(map); }

void check(Block& block, const PendingTile& tile, int rank) {
  const TensorMap& map = tile.map;
  const int row = row_bytes(map);
  if (rank != map.rank) block.fail("TMA: a tensor of %d dimensions is addressed with %d", map.rank, rank);
  if (row % kChunk != 0) block.fail("TMA: rows of the tile have %d bytes, no multiple of 16", row);
  if (map.swizzle != 0 && row != map.swizzle) {
    block.fail("TMA: rows of the tile have %d bytes, the swizzle is for %d", row, map.swizzle);
  }
  const auto align = static_cast<uint32_t>(std::max(128, 8 * map.swizzle));
  if (tile.shared % align != 0) block.fail("TMA: shared address %u is not aligned to %u bytes", tile.shared, align);
  if (block.shared.at(tile.shared, static_cast<size_t>(tile_bytes(map))) == nullptr) {
    block.fail("TMA: the tile at shared address %u is out of range", tile.shared);
  }
}

template <class Visit>
void for_each_chunk(const Block& block, const PendingTile& tile, Visit&& visit) {
  const TensorMap& map = tile.map;
  const int row_size = row_bytes(map), width = map.element_bytes;
  const int64_t per_chunk = kChunk / width;
  for (int64_t row = 0; row < tile_rows(map); ++row) {
    int64_t rest = row, offset = 0;
    bool inside = true;
    for (int i = 1; i < map.rank; ++i) {
      const int64_t at = tile.at[i] + rest % map.tile[i];
      rest /= map.tile[i];
      inside = inside && at >= 0 && at < map.size[i];
      offset += at * map.stride[i];
    }
    for (int byte = 0; byte < row_size; byte += kChunk) {
      const int64_t first = tile.at[0] + byte / width;
      const int64_t begin = std::clamp<int64_t>(-first, 0, per_chunk);
      const int64_t end = inside ? std::clamp<int64_t>(map.size[0] - first, begin, per_chunk) : begin;
      const uint32_t place = tile.shared + static_cast<uint32_t>(row * row_size + byte);
      auto* const base = static_cast<unsigned char*>(const_cast<void*>(map.base));
      visit(Chunk{static_cast<unsigned char*>(block.shared.at(swizzled(place, map.swizzle), kChunk)),
                  base + offset + first * width, static_cast<int>(begin) * width, static_cast<int>(end) * width});
    }
  }
}

PendingTile tile_of(const TensorMap& map, uint32_t shared, uint32_t barrier, const int* at, int rank) {
  PendingTile tile{map, shared, barrier, {}, 0};
  std::copy_n(at, rank, tile.at);
  return tile;
}

}  // namespace

/// To a race detector the load is an agent of its own: it comes after what its issuer has done, and what it writes is
/// known to those who wait for its barrier.
void Block::start_load(const PendingTile& load) {
  MBarrier& barrier = mbarrier(load.barrier);
  void* const agent = sanitizer::made(agents_[next_agent_++ % kAgents]);
  if (sanitizer::kRaces) {
    sanitizer::leave_at(&issue_);
    sanitizer::go_on_as(agent);
    sanitizer::take_from(&issue_);
  }
  for_each_chunk(*this, load, [](const Chunk& chunk) {
    sanitizer::write(chunk.shared, kChunk);
    const sanitizer::Unseen unseen;
    std::memset(chunk.shared, 0xff, kChunk);
  });
  if (sanitizer::kRaces) {
    void* const place = sanitizer::place_of(&barrier, barrier.phase);
    sanitizer::leave_at(sanitizer::generic_half(place));
    sanitizer::leave_at(sanitizer::async_half(place));
    sanitizer::go_on_as(self_->clocks.generic);
  }
  const sanitizer::Unseen unseen;
  loads_.push_back(load);
}

void Block::deliver(const PendingTile& load) {
  for_each_chunk(*this, load, [](const Chunk& chunk) {
    std::memset(chunk.shared, 0, kChunk);
    if (chunk.begin == chunk.end) return;
    const auto bytes = static_cast<size_t>(chunk.end - chunk.begin);
    std::memcpy(chunk.shared + chunk.begin, chunk.global + chunk.begin, bytes);
  });
  mbarrier(load.barrier).bytes -= static_cast<int32_t>(tile_bytes(load.map));
  turn_if_complete(load.barrier);
}

void Block::deliver_loads() {
  const sanitizer::Unseen unseen;
  while (!loads_.empty() && (ready_warps_ == 0 || one_in(deliver_one_in_))) {
    const size_t which = random_ ? draw() % loads_.size() : 0;
    const PendingTile load = loads_[which];
    loads_.erase(loads_.begin() + static_cast<ptrdiff_t>(which));
    deliver(load);
  }
}

void Block::store_tiles(int pending) {
  Thread& me = self();
  size_t kept = 0;
  for (size_t i = 0; i < me.stores.size(); ++i) {
    if (me.stores[i].group >= me.store_group - pending && pending > 0) {
      me.stores[kept++] = me.stores[i];
      continue;
    }
    sanitizer::go_on_as(me.clocks.async);
    for_each_chunk(*this, me.stores[i], [](const Chunk& chunk) {
      sanitizer::read(chunk.shared, kChunk);
      if (chunk.begin == chunk.end) return;
      const auto bytes = static_cast<size_t>(chunk.end - chunk.begin);
      sanitizer::write(chunk.global + chunk.begin, bytes);
      const sanitizer::Unseen unseen;
      std::memcpy(chunk.global + chunk.begin, chunk.shared + chunk.begin, bytes);
    });
    sanitizer::leave_at(&issue_);
    sanitizer::go_on_as(me.clocks.generic);
    sanitizer::take_from(&issue_);
  }
  me.stores.resize(kept);
}

void tma_load(uint32_t dst, const TensorMap& map, uint32_t barrier, const int* at, int rank) {
  Block& block = Block::current();
  const PendingTile load = tile_of(map, dst, barrier, at, rank);
  check(block, load, rank);
  block.start_load(load);
}

void tma_store(const TensorMap& map, uint32_t src, const int* at, int rank) {
  Block& block = Block::current();
  PendingTile store = tile_of(map, src, 0, at, rank);
  check(block, store, rank);
  store.group = block.self().store_group;
  const sanitizer::Unseen unseen;
  block.self().stores.push_back(store);
}

void bulk_commit() { ++Block::current().self().store_group; }
void bulk_wait(int pending) { Block::current().store_tiles(pending); }

}  // namespace hn::simt
