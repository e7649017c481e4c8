// Device memory with a limit and a cache.
//
// Freed blocks are kept, in one pool a lane, because asking the system (or CUDA) again costs far more than a kernel of
// the usual size. A pool belongs to a lane: a block that is freed when the last record that uses it has been *issued*
// may be given to a later record of the same lane at once, since the lane runs in order. Sizes below 1 MiB are rounded
// to eight classes per power of two; larger ones to 64 KiB, and a cached block may be up to an eighth larger than
// asked.
#pragma once

#include <array>
#include <map>
#include <vector>

#include "core/backend.h"
#include "core/platform/threads.h"

namespace hn {

struct Block {
  void* data = nullptr;
  size_t bytes = 0;  // as rounded, guard zones included
  size_t asked = 0;
};

struct MemoryCounters {
  uint64_t live;       // bytes in use, as rounded, workspace included
  uint64_t cached;     // bytes kept for reuse
  uint64_t peak;       // the largest `live` so far
  uint64_t limit;      // what live + cached may not pass
  uint64_t workspace;  // the part of `live` that running kernels asked for
  uint64_t guard_violations;
};

class Allocator {
 public:
  Allocator(const BackendTable& table, void* device, uint64_t limit);
  ~Allocator() { trim(); }
  Allocator(const Allocator&) = delete;
  Allocator& operator=(const Allocator&) = delete;

  /// All of these may be called from any thread.
  Status allocate(Lane lane, size_t bytes, Block* out);
  /// Gives a block back to its lane's pool. `used_lanes` (a bit a lane) names all lanes with issued work on it: the
  /// home lane is made to wait for the others before it can use the block again.
  void release(Lane home, unsigned used_lanes, Block block);

  Status allocate_workspace(Lane lane, size_t bytes, Block* out);
  void release_workspace(Lane lane, Block block);

  /// Returns all cached blocks to the backend, which must let issued work on them end first (cudaFree does).
  void trim();
  void reset_peak();
  void set_limit(uint64_t bytes);
  MemoryCounters counters() const;

  /// Whether blocks have guard zones (guard.h). `release` checks them too, but only here the one who writes is known.
  bool guarded() const { return guarded_; }
  /// False when something was written beside the block since the last look; counts it. A block without memory is fine.
  bool check_guards(const Block& block);
  /// Damage that `release` found since the last call, when nobody can tell any more who did it.
  uint64_t take_unexplained_violations();

  static size_t rounded(size_t bytes);

 private:
  static constexpr size_t kLargeFrom = size_t{1} << 20;
  static constexpr int kBins = 12 * 8 + 1;

  struct Pool {
    std::array<std::vector<void*>, kBins> small;
    std::multimap<size_t, void*> large;
  };

  Status allocate_rounded(Lane lane, size_t size, Block* out);
  static int bin_of(size_t rounded_bytes);
  static size_t bytes_of_bin(int bin);
  bool take_cached(Pool& pool, size_t bytes, Block* out);
  void add_live(size_t bytes);
  /// Takes cached blocks out of the pools, largest first, until `bytes` are together.
  void evict(uint64_t bytes, std::vector<Block>* out);
  void free_blocks(const std::vector<Block>& blocks);

  const BackendTable& table_;
  void* const device_;
  const bool guarded_;
  mutable platform::Mutex mutex_;
  Pool pools_[kLaneCount];
  uint64_t live_ = 0, cached_ = 0, peak_ = 0, limit_, workspace_ = 0;
  uint64_t guard_violations_ = 0, unexplained_violations_ = 0;
};

}  // namespace hn
