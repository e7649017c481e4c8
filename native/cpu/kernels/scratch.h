// Private memory for tasks of a parallel loop: as many blocks as the loop can have threads inside, lent to one task at
// a time. Tasks have no thread number, and a block per task would be too much.
#pragma once

#include <atomic>
#include <cstdint>
#include <new>

#include "cpu/context.h"

namespace hn::cpu::HN_ISA {

template <class T>
class Scratch {
 public:
  /// `count` elements for each thread, from the launch's workspace. Check ok() before use.
  Scratch(const Context& ctx, int64_t count)
      : count_((count * int64_t{sizeof(T)} + 63) / 64 * 64), slots_(ctx.threads()) {
    char* memory = ctx.template workspace<char>(slots_ * (count_ + kFlagBytes));
    if (memory == nullptr) return;
    blocks_ = memory;
    flags_ = memory + slots_ * count_;
    for (int64_t i = 0; i < slots_; ++i) new (flags_ + i * kFlagBytes) std::atomic<int>(0);
  }
  bool ok() const { return blocks_ != nullptr; }

  /// A block for as long as this object lives. One is always free: no more threads than slots are in one loop.
  class Lease {
   public:
    explicit Lease(const Scratch& scratch) : scratch_(scratch) {
      while (!try_take(slot_)) slot_ = slot_ + 1 == scratch.slots_ ? 0 : slot_ + 1;
    }
    ~Lease() { scratch_.flag(slot_).store(0, std::memory_order_release); }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    T* data() const { return reinterpret_cast<T*>(scratch_.blocks_ + slot_ * scratch_.count_); }

   private:
    bool try_take(int64_t slot) {
      std::atomic<int>& flag = scratch_.flag(slot);
      return flag.load(std::memory_order_relaxed) == 0 && flag.exchange(1, std::memory_order_acquire) == 0;
    }
    const Scratch& scratch_;
    int64_t slot_ = 0;
  };

 private:
  static constexpr int64_t kFlagBytes = 64;
  std::atomic<int>& flag(int64_t i) const { return *reinterpret_cast<std::atomic<int>*>(flags_ + i * kFlagBytes); }

  char* blocks_ = nullptr;
  char* flags_ = nullptr;
  int64_t count_;  // bytes of a block
  int64_t slots_;
};

}  // namespace hn::cpu::HN_ISA
