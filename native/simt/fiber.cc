#include "simt/fiber.h"

#include <cstdint>
#include <cstring>

#include "core/platform/stacks.h"
#include "simt/sanitizer.h"

namespace hn::simt {
namespace {

/// Kernels keep tiles in registers on a GPU and on this stack here; they call nothing deep.
/// A sanitizer makes frames larger.
constexpr size_t kStackBytes = size_t{sanitizer::kRaces || sanitizer::kBounds ? 512 : 128} << 10;

}  // namespace

Fiber::~Fiber() {
  if (stack_ != nullptr) platform::unmap_stack(stack_, kStackBytes);
}

#if defined(__x86_64__)

extern "C" void hn_simt_switch(void** save, void* stack_pointer);  // switch_x86_64.S

void Continuation::switch_to(Continuation& to) { hn_simt_switch(&stack_pointer_, to.stack_pointer_); }

bool Fiber::prepare(Entry entry) {
  if (stack_ == nullptr) stack_ = platform::map_stack(kStackBytes);
  if (stack_ == nullptr) return false;
  const size_t stagger = static_cast<size_t>(number_ % 61) * 448;
  auto top = reinterpret_cast<uintptr_t>(stack_) + kStackBytes - 64 - stagger;
  auto* slots = reinterpret_cast<void**>(top & ~uintptr_t{15});
  // As hn_simt_switch leaves a stack: six saved registers, then where to return to. The slot above stands for the
  // return address of `entry`, so that its stack is aligned as after a call.
  constexpr int kSavedRegisters = 6;
  slots -= kSavedRegisters + 2;
  std::memset(slots, 0, (kSavedRegisters + 2) * sizeof(void*));
  slots[kSavedRegisters] = reinterpret_cast<void*>(entry);
  stack_pointer_ = slots;
  return true;
}

#else

void Continuation::switch_to(Continuation& to) { swapcontext(&context_, &to.context_); }

bool Fiber::prepare(Entry entry) {
  if (stack_ == nullptr) stack_ = platform::map_stack(kStackBytes);
  if (stack_ == nullptr) return false;
  getcontext(&context_);
  context_.uc_stack.ss_sp = stack_;
  context_.uc_stack.ss_size = kStackBytes;
  context_.uc_link = nullptr;
  makecontext(&context_, entry, 0);
  return true;
}

#endif

Fiber* FiberPool::take() {
  if (!idle_.empty()) {
    Fiber* fiber = idle_.back();
    idle_.pop_back();
    return fiber;
  }
  auto fiber = std::make_unique<Fiber>(static_cast<int>(all_.size()));
  if (!fiber->prepare(entry_)) return nullptr;
  all_.push_back(std::move(fiber));
  return all_.back().get();
}

Fiber* FiberPool::own(int thread) {
  const auto index = static_cast<size_t>(thread);
  if (own_.size() <= index) own_.resize(index + 1);
  if (own_[index] == nullptr) {
    auto fiber = std::make_unique<Fiber>(thread);
    if (!fiber->prepare(entry_)) return nullptr;
    own_[index] = std::move(fiber);
  }
  return own_[index].get();
}

void FiberPool::reset() {
  own_.clear();
  idle_.clear();
  for (const auto& fiber : all_) {
    if (fiber->prepare(entry_)) idle_.push_back(fiber.get());
  }
}

}  // namespace hn::simt
