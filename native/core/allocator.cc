#include "core/allocator.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "core/guard.h"

namespace hn {
namespace {

constexpr size_t kSmallest = 256;
constexpr size_t kLargeStep = size_t{64} << 10;

}  // namespace

Allocator::Allocator(const BackendTable& table, void* device, uint64_t limit)
    : table_(table), device_(device), guarded_(table.host_memory && guard::wanted()), limit_(limit) {}

size_t Allocator::rounded(size_t bytes) {
  if (bytes <= kSmallest) return kSmallest;
  const size_t power = std::bit_floor(bytes - 1);  // power < bytes <= 2 * power
  const size_t step = bytes >= kLargeFrom ? kLargeStep : std::max<size_t>(power / 8, 1);
  return (bytes + step - 1) / step * step;
}

// Bin 0 holds 256 bytes; after it, eight bins for each power of two up to 1 MiB.
int Allocator::bin_of(size_t rounded_bytes) {
  if (rounded_bytes <= kSmallest) return 0;
  const size_t power = std::bit_floor(rounded_bytes - 1);
  return (std::bit_width(power / kSmallest) - 1) * 8 + static_cast<int>((rounded_bytes - power) / (power / 8));
}

size_t Allocator::bytes_of_bin(int bin) {
  if (bin == 0) return kSmallest;
  const size_t power = kSmallest << ((bin - 1) / 8);
  return power + power / 8 * ((bin - 1) % 8 + 1);
}

bool Allocator::take_cached(Pool& pool, size_t bytes, Block* out) {
  if (bytes < kLargeFrom) {
    auto& bin = pool.small[static_cast<size_t>(bin_of(bytes))];
    if (bin.empty()) return false;
    *out = {bin.back(), bytes};
    bin.pop_back();
  } else {
    const auto found = pool.large.lower_bound(bytes);
    if (found == pool.large.end() || found->first > bytes + bytes / 8) return false;
    *out = {found->second, found->first};
    pool.large.erase(found);
  }
  cached_ -= out->bytes;
  return true;
}

void Allocator::add_live(size_t bytes) {
  live_ += bytes;
  peak_ = std::max(peak_, live_);
}

Status Allocator::allocate(Lane lane, size_t bytes, Block* out) {
  if (!guarded_) {
    HN_RETURN_IF_ERROR(allocate_rounded(lane, rounded(bytes), out));
  } else {
    HN_RETURN_IF_ERROR(allocate_rounded(lane, rounded(bytes + 2 * guard::kZone), out));
    out->data = static_cast<char*>(out->data) + guard::kZone;
    guard::arm(out->data, bytes);
  }
  out->asked = bytes;
  return {};
}

Status Allocator::allocate_rounded(Lane lane, size_t size, Block* out) {
  std::vector<Block> evicted;
  {
    platform::Lock lock(mutex_);
    if (take_cached(pools_[lane], size, out)) {
      add_live(out->bytes);
      return {};
    }
    if (size > limit_ || live_ > limit_ - size) return Status::no_memory();
    if (live_ + cached_ + size > limit_) evict(live_ + cached_ + size - limit_, &evicted);
    add_live(size);  // counted before the backend is asked, so that the lock need not be held meanwhile
  }
  free_blocks(evicted);
  out->bytes = size;
  Status status = table_.alloc(device_, size, &out->data);
  if (status.code == Code::out_of_memory) {
    trim();
    status = table_.alloc(device_, size, &out->data);
  }
  if (!status.ok()) {
    platform::Lock lock(mutex_);
    live_ -= size;
    *out = {};
  }
  return status;
}

bool Allocator::check_guards(const Block& block) {
  if (!guarded_ || !block.data || guard::check_and_mend(block.data, block.asked)) return true;
  platform::Lock lock(mutex_);
  ++guard_violations_;
  return false;
}

uint64_t Allocator::take_unexplained_violations() {
  platform::Lock lock(mutex_);
  return std::exchange(unexplained_violations_, 0);
}

void Allocator::release(Lane home, unsigned used_lanes, Block block) {
  if (!block.data) return;
  const bool damaged = !check_guards(block);
  if (guarded_) block.data = static_cast<char*>(block.data) - guard::kZone;
  for (int other = 0; other < kLaneCount; ++other) {
    if (other == home || !(used_lanes >> other & 1)) continue;
    // A failure here means that the device is lost; the next wait tells it.
    void* event = nullptr;
    if (!table_.event_record(device_, static_cast<Lane>(other), &event).ok() || !event) continue;
    (void)table_.lane_wait(device_, home, event).ok();
    table_.event_free(device_, event);
  }
  platform::Lock lock(mutex_);
  unexplained_violations_ += damaged ? 1 : 0;
  live_ -= block.bytes;
  cached_ += block.bytes;
  if (block.bytes < kLargeFrom) {
    pools_[home].small[static_cast<size_t>(bin_of(block.bytes))].push_back(block.data);
  } else {
    pools_[home].large.emplace(block.bytes, block.data);
  }
}

Status Allocator::allocate_workspace(Lane lane, size_t bytes, Block* out) {
  HN_RETURN_IF_ERROR(allocate(lane, bytes, out));
  platform::Lock lock(mutex_);
  workspace_ += out->bytes;
  return {};
}

void Allocator::release_workspace(Lane lane, Block block) {
  {
    platform::Lock lock(mutex_);
    workspace_ -= block.bytes;
  }
  release(lane, 0, block);
}

void Allocator::evict(uint64_t bytes, std::vector<Block>* out) {
  uint64_t found = 0;
  for (Pool& pool : pools_) {
    while (found < bytes && !pool.large.empty()) {
      const auto last = std::prev(pool.large.end());
      out->push_back({last->second, last->first});
      found += last->first;
      pool.large.erase(last);
    }
  }
  for (int bin = kBins - 1; bin >= 0; --bin) {
    for (Pool& pool : pools_) {
      auto& blocks = pool.small[static_cast<size_t>(bin)];
      while (found < bytes && !blocks.empty()) {
        out->push_back({blocks.back(), bytes_of_bin(bin)});
        found += out->back().bytes;
        blocks.pop_back();
      }
    }
  }
  cached_ -= found;
}

void Allocator::free_blocks(const std::vector<Block>& blocks) {
  for (const Block& block : blocks) table_.free(device_, block.data, block.bytes);
}

void Allocator::trim() {
  std::vector<Block> evicted;
  {
    platform::Lock lock(mutex_);
    evict(UINT64_MAX, &evicted);
  }
  free_blocks(evicted);
}

void Allocator::reset_peak() {
  platform::Lock lock(mutex_);
  peak_ = live_;
}

void Allocator::set_limit(uint64_t bytes) {
  std::vector<Block> evicted;
  {
    platform::Lock lock(mutex_);
    limit_ = bytes;
    if (live_ + cached_ > limit_) evict(live_ + cached_ - limit_, &evicted);
  }
  free_blocks(evicted);
}

MemoryCounters Allocator::counters() const {
  platform::Lock lock(mutex_);
  return {live_, cached_, peak_, limit_, workspace_, guard_violations_};
}

}  // namespace hn
