#include "core/platform/threads.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>
#include <algorithm>
#include <cstdio>
#include <new>
#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

#include "core/platform/cgroup.h"

namespace hn::platform {
namespace {

struct Start {
  Thread::Entry entry;
  void* arg;
};

void* run_entry(void* raw) {
  const Start start = *static_cast<Start*>(raw);
  delete static_cast<Start*>(raw);
  start.entry(start.arg);
  return nullptr;
}

/// 0 when the kernel does not say. The set grows until it fits machines of more than 1024 CPUs.
int affinity_cpus() {
  for (int cpus = 1024; cpus <= 1 << 20; cpus *= 4) {
    cpu_set_t* set = CPU_ALLOC(cpus);
    if (!set) return 0;
    const size_t bytes = CPU_ALLOC_SIZE(cpus);
    const int count = sched_getaffinity(0, bytes, set) == 0 ? CPU_COUNT_S(bytes, set) : 0;
    CPU_FREE(set);
    if (count > 0) return count;
  }
  return 0;
}

#if defined(__SSE2__)
constexpr uint32_t kFlushBits = 0x8040;  // FTZ (bit 15) and DAZ (bit 6) of MXCSR
uint32_t float_control() { return _mm_getcsr(); }
void set_float_control(uint32_t value) { _mm_setcsr(value); }
#else
constexpr uint32_t kFlushBits = 0;
uint32_t float_control() { return 0; }
void set_float_control(uint32_t) {}
#endif

}  // namespace

bool Thread::start(Entry entry, void* arg) {
  Start* start = new (std::nothrow) Start{entry, arg};
  if (!start) return false;
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);  // a new thread inherits the mask
  pthread_t handle;
  running_ = pthread_create(&handle, nullptr, run_entry, start) == 0;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (running_)
    handle_ = handle;
  else
    delete start;
  return running_;
}

void Thread::join() {
  if (!running_) return;
  pthread_join(handle_, nullptr);
  running_ = false;
}

void set_thread_name(const char* name) {
  char kept[16];
  std::snprintf(kept, sizeof kept, "%s", name);
  pthread_setname_np(pthread_self(), kept);
}

int available_cpus() {
  int cpus = static_cast<int>(std::max(1L, sysconf(_SC_NPROCESSORS_ONLN)));
  if (const int affinity = affinity_cpus(); affinity > 0) cpus = std::min(cpus, affinity);
  if (const int quota = cgroup_cpus(); quota > 0) cpus = std::min(cpus, quota);
  return cpus;
}

void flush_denormals_on_this_thread() { set_float_control(float_control() | kFlushBits); }

FlushDenormals::FlushDenormals() : saved_(float_control()) { set_float_control(saved_ | kFlushBits); }
FlushDenormals::~FlushDenormals() { set_float_control(saved_); }

void spin_pause() {
#if defined(__SSE2__)
  _mm_pause();
#endif
}

int64_t monotonic_ns() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec;
}

}  // namespace hn::platform
