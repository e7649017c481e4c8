// What the emulator tells a sanitizer. The runtime itself is never instrumented, kernels are: native/simt/test builds
// both with HN_SIMT_RACES (ThreadSanitizer) or HN_SIMT_BOUNDS (AddressSanitizer). Without either all of this is
// nothing.
//
// Races: each CUDA thread is two fibers of ThreadSanitizer, a clock for what it does itself (the generic proxy) and one
// for what the hardware reads on its behalf (the async proxy). A barrier is a Meeting: it carries each clock on to the
// same clock of others, so that a generic write reaches an async read only through fence.proxy.async, which joins them.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(HN_SIMT_RACES)
#include <sanitizer/tsan_interface.h>
extern "C" void __tsan_read_range(void* at, unsigned long bytes);
extern "C" void __tsan_write_range(void* at, unsigned long bytes);
extern "C" void __tsan_ignore_thread_begin();
extern "C" void __tsan_ignore_thread_end();
#elif defined(HN_SIMT_BOUNDS)
#include <sanitizer/asan_interface.h>
extern "C" void __asan_report_load_n_noabort(void* at, unsigned long bytes);
extern "C" void __asan_report_store_n_noabort(void* at, unsigned long bytes);
#endif

namespace hn::simt::sanitizer {

struct Clocks {
  void* generic = nullptr;
  void* async = nullptr;
};

/// Only its address counts: 8 bytes of anything, the first half for generic clocks, the other for async ones. Rounds
/// take turns between two places: who wakes late must not learn what others have left in the next round.
struct alignas(8) Meeting {
  char halves[8];
};
inline void* place_of(void* meeting, uint32_t round) { return static_cast<char*>(meeting) + round % 2; }
inline void* generic_half(void* meeting) { return meeting; }
inline void* async_half(void* meeting) { return static_cast<char*>(meeting) + 4; }

#if defined(HN_SIMT_RACES)

constexpr bool kRaces = true;

inline void* this_clock() { return __tsan_get_current_fiber(); }
inline void go_on_as(void* clock) { __tsan_switch_to_fiber(clock, __tsan_switch_to_fiber_no_sync); }
/// Clocks are costly to make and are kept.
inline void* made(void*& clock) { return clock = clock != nullptr ? clock : __tsan_create_fiber(0); }
inline void leave_at(void* half) { __tsan_release(half); }
inline void take_from(void* half) { __tsan_acquire(half); }
inline void read(const void* at, size_t bytes) { __tsan_read_range(const_cast<void*>(at), bytes); }
inline void write(void* at, size_t bytes) { __tsan_write_range(at, bytes); }
inline void ignore_begin() { __tsan_ignore_thread_begin(); }
inline void ignore_end() { __tsan_ignore_thread_end(); }

#else

constexpr bool kRaces = false;

inline void* this_clock() { return nullptr; }
inline void go_on_as(void*) {}
inline void* made(void*&) { return nullptr; }
inline void leave_at(void*) {}
inline void take_from(void*) {}
inline void ignore_begin() {}
inline void ignore_end() {}

#if defined(HN_SIMT_BOUNDS)
inline void read(const void* at, size_t bytes) {
  if (void* bad = __asan_region_is_poisoned(const_cast<void*>(at), bytes)) __asan_report_load_n_noabort(bad, 1);
}
inline void write(void* at, size_t bytes) {
  if (void* bad = __asan_region_is_poisoned(at, bytes)) __asan_report_store_n_noabort(bad, 1);
}
#else
inline void read(const void*, size_t) {}
inline void write(void*, size_t) {}
#endif

#endif

#if defined(HN_SIMT_BOUNDS)
constexpr bool kBounds = true;
inline void forbid(const void* at, size_t bytes) { __asan_poison_memory_region(at, bytes); }
inline void allow(const void* at, size_t bytes) { __asan_unpoison_memory_region(at, bytes); }
#else
constexpr bool kBounds = false;
inline void forbid(const void*, size_t) {}
inline void allow(const void*, size_t) {}
#endif

/// While one lives, what this clock reads and writes is nobody's business: the emulator's own moves of data.
class Unseen {
 public:
  Unseen() { ignore_begin(); }
  ~Unseen() { ignore_end(); }
  Unseen(const Unseen&) = delete;
  Unseen& operator=(const Unseen&) = delete;
};

/// Both clocks of the running thread leave what they know at the meeting, or take what others have left.
inline void publish(const Clocks& mine, void* meeting) {
  if constexpr (!kRaces) return;
  leave_at(generic_half(meeting));
  go_on_as(mine.async);
  leave_at(async_half(meeting));
  go_on_as(mine.generic);
}
inline void observe(const Clocks& mine, void* meeting) {
  if constexpr (!kRaces) return;
  take_from(generic_half(meeting));
  go_on_as(mine.async);
  take_from(async_half(meeting));
  go_on_as(mine.generic);
}
/// What the generic proxy did so far happened before what the async proxy will do (fence.proxy.async), or the reverse.
inline void generic_to_async(const Clocks& mine, void* meeting) {
  if constexpr (!kRaces) return;
  leave_at(generic_half(meeting));
  go_on_as(mine.async);
  take_from(generic_half(meeting));
  go_on_as(mine.generic);
}

}  // namespace hn::simt::sanitizer
