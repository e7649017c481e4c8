#include "simt/shared_memory.h"

#include <algorithm>
#include <cstring>

#include "core/platform/memory.h"
#include "simt/block.h"
#include "simt/sanitizer.h"

namespace hn::simt {
namespace {

constexpr unsigned char kFresh = 0xff;
constexpr size_t kMaxAlign = 1024;
constexpr size_t kGap = 64;  // before and after each static variable

size_t align_up(size_t n, size_t align) { return (n + align - 1) / align * align; }

}  // namespace

SharedMemory::SharedMemory() : arena_(static_cast<unsigned char*>(platform::map_pages(kArenaBytes))) {}

SharedMemory::~SharedMemory() { platform::unmap_pages(arena_, kArenaBytes); }

void SharedMemory::start(size_t dynamic_bytes) {
  dynamic_bytes_ = dynamic_bytes > 0 ? dynamic_bytes + kZonesBytes : 0;
  sanitizer::allow(arena_, kArenaBytes);
  std::memset(dynamic(), kFresh, dynamic_bytes_);
  static_at_ = align_up(kDynamicAt + dynamic_bytes_, 1024);
  used_ = static_at_ + kGap;
  std::memset(arena_ + static_at_, kFresh, kGap);
  variables_.clear();
  zones_.clear();
  zones_.push_back({static_at_, kGap});
  sanitizer::forbid(arena_, kArenaBytes);
  sanitizer::allow(dynamic(), dynamic_bytes);
}

void* SharedMemory::variable(const void* place, size_t bytes, size_t align) {
  for (const Variable& v : variables_) {
    if (v.place == place) return arena_ + v.at;
  }
  const size_t at = align_up(used_, std::max<size_t>(align, 16));
  const size_t gaps = kGap * (variables_.size() + 2);
  if (at + bytes + kGap > kArenaBytes || at + bytes - static_at_ > kStaticBytes + gaps) return nullptr;
  sanitizer::allow(arena_ + used_, at + bytes + kGap - used_);
  std::memset(arena_ + used_, kFresh, at + bytes + kGap - used_);
  sanitizer::forbid(arena_ + used_, at - used_);
  sanitizer::forbid(arena_ + at + bytes, kGap);
  zones_.push_back({at + bytes, kGap});
  used_ = at + bytes + kGap;
  variables_.push_back({place, at});
  return arena_ + at;
}

bool SharedMemory::add_red_zone(const void* from, size_t bytes, size_t carved) {
  const auto at = static_cast<size_t>(static_cast<const unsigned char*>(from) - arena_);
  if (carved + kZonesBytes > dynamic_bytes_ || at + bytes > kDynamicAt + dynamic_bytes_) return false;
  for (const RedZone& zone : zones_) {
    if (zone.at == at) return true;
  }
  zones_.push_back({at, bytes});
  // Behind the zone goes on what is left of the launch's bytes, from an aligned place.
  const size_t left = dynamic_bytes_ - kZonesBytes - carved, end = kDynamicAt + dynamic_bytes_;
  const size_t next = at + bytes, room = left > 0 ? std::min(left + kMaxAlign, end - next) : 0;
  sanitizer::forbid(arena_ + at, end - at);
  sanitizer::allow(arena_ + next, room);
  return true;
}

std::string SharedMemory::check_red_zones() const {
  for (const RedZone& zone : zones_) {
    for (size_t i = 0; i < zone.bytes; ++i) {
      if (arena_[zone.at + i] == kFresh) continue;
      const bool dynamic = zone.at < static_at_;
      return "shared memory was written beyond the end of its part, at byte " +
             std::to_string(zone.at + i - (dynamic ? kDynamicAt : static_at_)) +
             (dynamic ? " of what the carver cuts" : " of the static variables");
    }
  }
  return "";
}

uint32_t SharedMemory::address(const void* p) const {
  const auto distance = static_cast<const unsigned char*>(p) - arena_;
  return distance < 0 || distance >= static_cast<ptrdiff_t>(kArenaBytes) ? UINT32_MAX : static_cast<uint32_t>(distance);
}

void* SharedMemory::at(uint32_t address, size_t bytes) const {
  return address < kDynamicAt || address + bytes > kArenaBytes ? nullptr : arena_ + address;
}

unsigned char* dynamic_shared() { return Block::current().shared.dynamic(); }

void* static_shared(const void* place, size_t bytes, size_t align) {
  Block& block = Block::current();
  const sanitizer::Unseen unseen;
  void* variable = block.shared.variable(place, bytes, align);
  if (variable == nullptr) block.fail("more than 48 KB of static shared memory");
  return variable;
}

void red_zone(const void* at, size_t bytes, int carved) {
  Block& block = Block::current();
  const sanitizer::Unseen unseen;
  if (!block.shared.add_red_zone(at, bytes, static_cast<size_t>(carved)))
    block.fail("the carver cuts more shared memory than the launch asked for");
}

uint32_t shared_address(const void* p) {
  Block& block = Block::current();
  const uint32_t address = block.shared.address(p);
  if (address == UINT32_MAX) block.fail("%p is no address of shared memory", p);
  return address;
}

}  // namespace hn::simt
