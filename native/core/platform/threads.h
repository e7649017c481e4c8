// Threads as the rest of the library sees them. Only native/core/platform/ calls the operating system for them.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace hn::platform {

using Mutex = std::mutex;
using Lock = std::unique_lock<std::mutex>;
using CondVar = std::condition_variable;  // single words may also be waited on with std::atomic::wait

/// A thread that can be joined. Unlike std::thread, a thread that cannot be had is an answer, not an exception; and it
/// takes no signals, so that Node's handlers run on Node's threads.
class Thread {
 public:
  using Entry = void (*)(void* arg);

  Thread() = default;
  ~Thread() { join(); }
  Thread(Thread&& other) noexcept : handle_(other.handle_), running_(other.running_) { other.running_ = false; }
  Thread& operator=(Thread&&) = delete;

  /// False when the system gives no more threads. `arg` must live until the thread ends.
  [[nodiscard]] bool start(Entry entry, void* arg);
  void join();
  bool running() const { return running_; }

 private:
  unsigned long handle_ = 0;
  bool running_ = false;
};

/// At most 15 characters are kept; shown by top, gdb and perf.
void set_thread_name(const char* name);

/// CPUs this process may use: the least of affinity, cgroup quota (v2 and v1, rounded up) and hardware; at least 1.
int available_cpus();

/// Subnormal operands and results count as zero on the calling thread from here on (x86: DAZ and FTZ). They cost a
/// hundred cycles each otherwise; and results must not depend on which thread computed them, so all use the same
/// setting.
void flush_denormals_on_this_thread();

/// The same for a while, for threads that are not ours: the old setting returns at the end.
class FlushDenormals {
 public:
  FlushDenormals();
  ~FlushDenormals();
  FlushDenormals(const FlushDenormals&) = delete;
  FlushDenormals& operator=(const FlushDenormals&) = delete;

 private:
  uint32_t saved_;
};

/// One turn of a spinning wait: lets the other hardware thread of the core work.
void spin_pause();

/// A clock that never goes back, in nanoseconds.
int64_t monotonic_ns();

}  // namespace hn::platform
