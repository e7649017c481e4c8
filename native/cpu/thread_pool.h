// One pool a process, shared by every device and every worker thread of Node.
#pragma once

#include <cstdint>

namespace hn::cpu {

class ThreadPool {
 public:
  using Task = void (*)(void* body, int64_t index);

  /// The process's pool, started at first use: HUNYUAN_NUM_THREADS, else what the cgroup's quota allows.
  static ThreadPool& shared();

  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  /// Calls task(body, i) for each i in [0, n), in any order, on the pool's threads and the caller's; returns
  /// when all are done. Safe to call from several threads at once: each caller works on its own loop, so
  /// none waits for another's. A call from inside a task runs inline.
  void run(int64_t n, Task task, void* body);

  int threads() const { return threads_; }  // the caller's included

 private:
  struct State;
  State* state_;
  int threads_;
};

}  // namespace hn::cpu
