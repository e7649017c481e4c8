// Workspace for products that run one after another: a launch's workspace is given back only when the launch ends, so
// each further product would add to it.
#pragma once

#include "cpu/context.h"

namespace hn::cpu::HN_ISA {

/// Workspace that is handed out again for the next product: they run one after another.
class Reused {
 public:
  explicit Reused(const Context& ctx) : parent_(ctx), host_{this, take, 0, nullptr} {}
  Context next() {
    for (Block& block : blocks_) block.taken = false;
    return parent_.with_workspace(host_);
  }

 private:
  struct Block {
    void* data = nullptr;
    size_t bytes = 0;
    bool taken = false;
  };
  static void* take(void* self, size_t bytes) {
    Reused& me = *static_cast<Reused*>(self);
    for (Block& block : me.blocks_) {
      if (block.taken || block.bytes < bytes) continue;
      block.taken = true;
      return block.data;
    }
    void* data = me.parent_.workspace<char>(static_cast<int64_t>(bytes));
    for (Block& block : me.blocks_) {
      if (block.taken || data == nullptr) continue;
      block = {data, bytes, true};
      break;
    }
    return data;
  }
  const Context& parent_;
  LaunchHost host_;
  Block blocks_[16];
};

}  // namespace hn::cpu::HN_ISA
