// A stack of its own and a place to go on: what a CUDA thread runs on. Switching costs a few nanoseconds, no system
// call.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace hn::simt {

/// Where a suspended fiber (or the host's own stack) goes on.
class Continuation {
 public:
  /// Saves the present place here and goes on at `to`; back when someone switches here.
  void switch_to(Continuation& to);

 private:
  friend class Fiber;
#if defined(__x86_64__)
  void* stack_pointer_ = nullptr;
#else
  ucontext_t context_;
#endif
};

class Fiber : public Continuation {
 public:
  using Entry = void (*)();

  /// Staggers where the stacks of a pool begin: with equal offsets they would all meet in one set of the cache.
  explicit Fiber(int number) : number_(number) {}
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  /// Makes the next switch here call `entry`, which must not return. False when there is no memory for a stack.
  bool prepare(Entry entry);

 private:
  int number_;
  void* stack_ = nullptr;
};

/// The fibers of one block runner: made when first needed, kept for the next block.
class FiberPool {
 public:
  explicit FiberPool(Fiber::Entry entry) : entry_(entry) {}

  /// nullptr when there is no memory.
  Fiber* take();
  /// The fiber that always runs this thread; not to be given back.
  Fiber* own(int thread);
  void give_back(Fiber* fiber) { idle_.push_back(fiber); }
  /// After an error: fibers stand anywhere, and start anew.
  void reset();

 private:
  Fiber::Entry entry_;
  std::vector<std::unique_ptr<Fiber>> all_;
  std::vector<Fiber*> idle_;
  std::vector<std::unique_ptr<Fiber>> own_;
};

}  // namespace hn::simt
