// Loops are dealt index by index from an atomic counter. A loop lives on its caller's stack and stands in the pool's
// list while it runs; idle workers join any loop in the list. The caller works on its own loop like a worker, so every
// loop ends even when all workers are busy elsewhere: no caller can deadlock another.

#include "cpu/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <new>

#include "core/platform/threads.h"

namespace hn::cpu {
namespace {

namespace os = hn::platform;

constexpr int kMaxThreads = 1024;
// A sleeping worker costs about 50 us to wake, as much as a small kernel: workers look out for the next op for this
// long before they sleep. Longer would take the core from other processes.
constexpr int64_t kSpinNs = 40'000;

struct Loop {
  Loop(int64_t count, ThreadPool::Task work, void* state) : n(count), task(work), body(state) {}

  const int64_t n;
  const ThreadPool::Task task;
  void* const body;
  alignas(64) std::atomic<int64_t> next{0};
  alignas(64) std::atomic<int> helpers{0};  // workers inside; changed under the pool's mutex, read without it
  Loop* list_next = nullptr;

  bool has_work() const { return next.load(std::memory_order_relaxed) < n; }
  void work() {
    for (int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < n;) task(body, i);
  }
};

/// Set while this thread runs tasks: a loop started from a task runs inline, on this thread.
thread_local bool inside_task = false;

/// HUNYUAN_NUM_THREADS if it is a whole number in 1..1024, else what the machine or container allows.
int wanted_threads() {
  if (const char* text = std::getenv("HUNYUAN_NUM_THREADS")) {
    char* end = nullptr;
    errno = 0;
    const long value = std::strtol(text, &end, 10);
    if (end != text && *end == 0 && errno == 0 && value >= 1 && value <= kMaxThreads) return static_cast<int>(value);
  }
  return std::min(os::available_cpus(), kMaxThreads);
}

}  // namespace

struct ThreadPool::State {
  os::Mutex mutex;
  os::CondVar work_added;
  os::CondVar helper_left;
  Loop* loops = nullptr;           // guarded by mutex
  int sleepers = 0;                // guarded by mutex
  bool stopping = false;           // guarded by mutex
  std::atomic<uint32_t> epoch{0};  // rises with every loop added, for workers that spin
  os::Thread* workers = nullptr;
  int worker_count = 0;

  Loop* find_work() const {
    for (Loop* loop = loops; loop; loop = loop->list_next)
      if (loop->has_work()) return loop;
    return nullptr;
  }

  void add(Loop* loop) {
    os::Lock lock(mutex);
    loop->list_next = loops;
    loops = loop;
    epoch.fetch_add(1, std::memory_order_release);
    const int64_t useful = std::min<int64_t>(loop->n - 1, sleepers);
    if (useful == sleepers)
      work_added.notify_all();
    else
      for (int64_t i = 0; i < useful; ++i) work_added.notify_one();
  }

  /// Takes the loop off the list, so that nobody joins any more, and waits for those inside.
  void remove(Loop* loop) {
    os::Lock lock(mutex);
    Loop** link = &loops;
    while (*link != loop) link = &(*link)->list_next;
    *link = loop->list_next;
    if (loop->helpers.load(std::memory_order_relaxed) == 0) return;
    lock.unlock();
    // Most helpers are within their last index: spin first, the lock free for them to leave through.
    for (const int64_t until = os::monotonic_ns() + kSpinNs; os::monotonic_ns() < until;) {
      if (loop->helpers.load(std::memory_order_acquire) == 0) break;
      for (int i = 0; i < 32; ++i) os::spin_pause();
    }
    // Under the lock in any case: the last helper touches the loop with the lock held.
    lock.lock();
    helper_left.wait(lock, [&] { return loop->helpers.load(std::memory_order_relaxed) == 0; });
  }

  /// Waits, without the lock, until a loop is added or the time is up.
  void spin(uint32_t seen) const {
    for (const int64_t until = os::monotonic_ns() + kSpinNs; os::monotonic_ns() < until;)
      for (int i = 0; i < 32; ++i) {
        if (epoch.load(std::memory_order_acquire) != seen) return;
        os::spin_pause();
      }
  }

  void worker() {
    os::set_thread_name("hunyuan-cpu");
    os::flush_denormals_on_this_thread();
    inside_task = true;
    os::Lock lock(mutex);
    for (bool spun = false;;) {
      if (stopping) return;
      if (Loop* loop = find_work()) {
        loop->helpers.fetch_add(1, std::memory_order_relaxed);
        lock.unlock();
        loop->work();
        lock.lock();
        if (loop->helpers.fetch_sub(1, std::memory_order_release) == 1) helper_left.notify_all();
        spun = false;
      } else if (!spun) {
        const uint32_t seen = epoch.load(std::memory_order_relaxed);
        lock.unlock();
        spin(seen);
        lock.lock();
        spun = true;
      } else {
        ++sleepers;
        work_added.wait(lock);
        --sleepers;
        spun = false;
      }
    }
  }
};

ThreadPool& ThreadPool::shared() {
  // Never destroyed: at exit other threads (Node's workers, device executors) may still be inside run(), and joining
  // here would wait for them or pull the pool from under them. The system ends the threads with the process.
  static ThreadPool* const pool = new ThreadPool(wanted_threads());
  return *pool;
}

ThreadPool::ThreadPool(int threads) : state_(new State), threads_(1) {
  const int wanted = std::clamp(threads, 1, kMaxThreads) - 1;
  if (wanted > 0) state_->workers = new os::Thread[static_cast<size_t>(wanted)];
  while (state_->worker_count < wanted) {
    os::Thread& thread = state_->workers[state_->worker_count];
    if (!thread.start([](void* s) { static_cast<State*>(s)->worker(); }, state_)) break;  // fewer threads will do
    ++state_->worker_count;
  }
  threads_ = state_->worker_count + 1;
}

ThreadPool::~ThreadPool() {
  {
    os::Lock lock(state_->mutex);
    state_->stopping = true;
    state_->epoch.fetch_add(1, std::memory_order_release);
    state_->work_added.notify_all();
  }
  delete[] state_->workers;  // joins
  delete state_;
}

void ThreadPool::run(int64_t n, Task task, void* body) {
  if (n <= 0) return;
  if (inside_task) {
    for (int64_t i = 0; i < n; ++i) task(body, i);
    return;
  }
  const os::FlushDenormals flush;
  inside_task = true;
  if (n == 1 || threads_ == 1) {
    for (int64_t i = 0; i < n; ++i) task(body, i);
  } else {
    Loop loop(n, task, body);
    state_->add(&loop);
    loop.work();
    state_->remove(&loop);
  }
  inside_task = false;
}

}  // namespace hn::cpu
