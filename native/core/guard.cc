#include "core/guard.h"

#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace hn::guard {
namespace {

/// Differs from byte to byte, so that a row copied one element too far does not go unseen.
struct Pattern {
  constexpr Pattern() {
    for (size_t i = 0; i < kZone; ++i) bytes[i] = static_cast<uint8_t>(0xA5 ^ (i * 37));
  }
  uint8_t bytes[kZone] = {};
};
constexpr Pattern kPattern;

char* before(void* data) { return static_cast<char*>(data) - kZone; }
char* after(void* data, size_t bytes) { return static_cast<char*>(data) + bytes; }

void write_zones(void* data, size_t bytes) {
  std::memcpy(before(data), kPattern.bytes, kZone);
  std::memcpy(after(data, bytes), kPattern.bytes, kZone);
}

}  // namespace

bool wanted() {
  const char* text = std::getenv("HUNYUAN_GUARD");
  return text && std::strcmp(text, "1") == 0;
}

void arm(void* data, size_t bytes) {
  write_zones(data, bytes);
  std::memset(data, 0xFF, bytes);
}

bool check_and_mend(void* data, size_t bytes) {
  if (std::memcmp(before(data), kPattern.bytes, kZone) == 0 &&
      std::memcmp(after(data, bytes), kPattern.bytes, kZone) == 0) {
    return true;
  }
  write_zones(data, bytes);
  return false;
}

}  // namespace hn::guard
