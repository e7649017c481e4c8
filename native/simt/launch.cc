// Runs the blocks of a grid, on as many threads of the host as are of use.
#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "core/platform/threads.h"
#include "simt/block.h"

namespace hn::simt {
namespace {

/// Below this many CUDA threads a launch is done before another host thread would have started.
constexpr int64_t kShareFrom = 8192;

uint64_t number_from(const char* variable, uint64_t otherwise) {
  const char* text = std::getenv(variable);
  return text != nullptr && *text != 0 ? std::strtoull(text, nullptr, 10) : otherwise;
}

/// Blocks are large (stacks, shared memory) and are used again. Never destroyed: fibers must not outlive a library.
class BlockPool {
 public:
  std::unique_ptr<Block> take() {
    platform::Lock lock(mutex_);
    if (idle_.empty()) return std::make_unique<Block>();
    std::unique_ptr<Block> block = std::move(idle_.back());
    idle_.pop_back();
    return block;
  }
  void give_back(std::unique_ptr<Block> block) {
    platform::Lock lock(mutex_);
    idle_.push_back(std::move(block));
  }

 private:
  platform::Mutex mutex_;
  std::vector<std::unique_ptr<Block>> idle_;
};

BlockPool& pool() {
  static BlockPool& blocks = *new BlockPool;
  return blocks;
}

/// A status owns nothing, so its words must live on. There are as many as there are kinds of errors.
const char* kept(const std::string& text) {
  static platform::Mutex& mutex = *new platform::Mutex;
  static std::set<std::string>& texts = *new std::set<std::string>;
  platform::Lock lock(mutex);
  return texts.insert(text).first->c_str();
}

struct Grid {
  Block::Job job;
  std::atomic<int64_t> next{0};
  platform::Mutex mutex;
  std::string error;

  void work() {
    std::unique_ptr<Block> block = pool().take();
    for (int64_t i; (i = next.fetch_add(1)) < job.launch->blocks;) {
      std::string problem = block->run(job, i);
      if (problem.empty()) continue;
      next = job.launch->blocks;  // nobody begins another
      platform::Lock lock(mutex);
      if (error.empty()) error = std::move(problem);
    }
    pool().give_back(std::move(block));
  }
};

}  // namespace

Status launch(const Launch& launch, void (*body)(const void* call), const void* call) {
  const uint64_t seed = number_from("HUNYUAN_SIMT_SEED", 1);
  static const auto workers = static_cast<int64_t>(std::clamp<uint64_t>(
      number_from("HUNYUAN_SIMT_THREADS", static_cast<uint64_t>(platform::available_cpus())), 1, 64));
  Grid grid;
  grid.job = {&launch, body, call, seed};
  // One thread of the host keeps a race detector's clocks apart from its own.
  const bool alone = sanitizer::kRaces || launch.blocks * launch.threads < kShareFrom;
  const int64_t others = alone ? 0 : std::min(workers, launch.blocks) - 1;
  {
    std::vector<platform::Thread> threads(static_cast<size_t>(others));
    // One that cannot be had leaves more for the rest.
    for (platform::Thread& thread : threads) (void)thread.start([](void* g) { static_cast<Grid*>(g)->work(); }, &grid);
    grid.work();
  }
  if (grid.error.empty()) return {};
  return {Code::device_error, kept(grid.error)};
}

}  // namespace hn::simt
