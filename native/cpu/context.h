// What a CPU kernel gets besides its arguments: the thread pool and workspace.
#pragma once

#include <cstdint>
#include <type_traits>

#include "core/backend.h"
#include "cpu/thread_pool.h"

namespace hn::cpu {

class Context {
 public:
  Context(ThreadPool& pool, const LaunchHost& host) : pool_(pool), host_(host) {}

  /// Calls body(i) for i in [0, n), spread over the pool. What one index computes must not depend on the
  /// number of threads: that keeps results the same, byte for byte, on any machine.
  template <class Body>
  void parallel_for(int64_t n, Body&& body) const {
    using B = std::remove_reference_t<Body>;
    pool_.run(
        n, [](void* b, int64_t i) { (*static_cast<B*>(b))(i); }, const_cast<void*>(static_cast<const void*>(&body)));
  }

  /// Memory for the length of this launch, 64-byte aligned, counted against the device's limit.
  /// nullptr when the limit is reached: answer Status::no_memory().
  template <class T>
  T* workspace(int64_t count) const {
    return static_cast<T*>(host_.workspace(host_.self, static_cast<size_t>(count) * sizeof(T)));
  }

  /// The same pool with memory from elsewhere: products that run one after another can share one block.
  Context with_workspace(const LaunchHost& host) const { return Context(pool_, host); }

  int threads() const { return pool_.threads(); }

 private:
  ThreadPool& pool_;
  const LaunchHost& host_;
};

}  // namespace hn::cpu
