// A recorded call in memory where a sanitizer sees each byte too many: every tensor and every workspace is a heap block
// of exactly its extent, at the address's old remainder by 64.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/backend.h"
#include "test/case_file.h"

namespace hn::test {

/// "" when what a call wrote is what it wrote when it was recorded. Integers and truth values must be the same; floats
/// may differ by a few roundings of the largest value, since kernels add in different orders: `slack` times as many as
/// those of the CPU's instruction sets.
std::string compare(const RecordedUse& use, const char* got, double slack = 1);

/// Ends with its last byte and starts `misalignment` after a multiple of 64; full of 0xFF, so that floats read before
/// they are written are NaN.
class HeapBlock {
 public:
  HeapBlock(size_t bytes, size_t misalignment);
  ~HeapBlock();
  HeapBlock(const HeapBlock&) = delete;
  HeapBlock& operator=(const HeapBlock&) = delete;

  char* data() const { return start_ + skipped_; }

 private:
  char* start_ = nullptr;
  const size_t skipped_;
};

/// The call with its arguments as they were before it. `recorded` must outlive it.
class ReplayedCall {
 public:
  explicit ReplayedCall(const Case& recorded);

  const OpCall& call() const { return call_; }
  /// Hands out workspace that lives as long as this.
  const LaunchHost& host() const { return host_; }

  const Case& recorded() const { return recorded_; }
  const char* bytes_of_tensor(size_t i) const { return tensors_[i]->data(); }

  /// After the launch: "" when inputs are as they were, and outputs as they were recorded by `compare`'s measure.
  std::string check(double slack = 1) const;

 private:
  const Case& recorded_;
  std::vector<std::unique_ptr<HeapBlock>> tensors_, workspaces_;
  std::vector<TensorView> views_;
  OpCall call_;
  LaunchHost host_{};
};

}  // namespace hn::test
