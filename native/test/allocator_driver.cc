// The allocator and the handle table by themselves.

#include <cstring>
#include <random>
#include <thread>

#include "core/handle_table.h"
#include "test/client.h"

namespace hn::test {
namespace {

void sizes() {
  HN_CHECK(Allocator::rounded(0) == 256 && Allocator::rounded(256) == 256 && Allocator::rounded(257) == 288);
  size_t last = 0;
  for (size_t bytes = 1; bytes < (size_t{1} << 40); bytes += bytes / 7 + 1) {
    const size_t size = Allocator::rounded(bytes);
    HN_CHECK(size >= bytes && size >= last && Allocator::rounded(size) == size);
    HN_CHECK(bytes < 256 || size <= bytes + bytes / 8 + 1);
    last = size;
  }
}

/// Threads as lanes allocate, fill, check and free at random under a limit that is often reached.
void many_threads() {
  void* device = nullptr;
  const BackendTable& table = fake_backend(false);
  HN_CHECK(table.open(0, &device).ok());
  {
    Allocator allocator(table, device, 6 << 20);
    auto work = [&](Lane lane, unsigned seed) {
      std::mt19937 random(seed);
      std::vector<Block> mine;
      for (int i = 0; i < rounds(20'000); ++i) {
        if (mine.size() < 12 && random() % 2 == 0) {
          Block block;
          const size_t bytes = random() % 10 == 0 ? random() % (3 << 20) : random() % 20'000;
          if (!allocator.allocate(lane, bytes, &block).ok()) continue;
          HN_CHECK(block.data && block.bytes >= bytes);
          std::memset(block.data, static_cast<int>(seed), std::min<size_t>(block.bytes, 64));
          mine.push_back(block);
        } else if (!mine.empty()) {
          const size_t at = random() % mine.size();
          HN_CHECK(*static_cast<unsigned char*>(mine[at].data) == seed);
          allocator.release(lane, 0, mine[at]);
          mine[at] = mine.back();
          mine.pop_back();
        }
        if (random() % 1000 == 0) allocator.trim();
      }
      for (const Block& block : mine) allocator.release(lane, 0, block);
    };
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < 4; ++i) threads.emplace_back(work, static_cast<Lane>(i % 2), i + 1);
    for (std::thread& thread : threads) thread.join();
    const MemoryCounters counters = allocator.counters();
    HN_CHECK(counters.live == 0 && counters.cached <= counters.limit && counters.peak <= counters.limit);
    allocator.set_limit(1000);
    HN_CHECK(allocator.counters().cached <= 1000);
  }
  HN_CHECK(fake_state().allocated == 0);
  table.close(device);
}

void stale_handles() {
  Client client(false);
  HandleTable& handles = client.handles();
  std::mt19937 random(3);
  std::vector<double> live, dead;
  for (int i = 0; i < 20'000; ++i) {
    if (live.size() < 50 && random() % 2 == 0) {
      live.push_back(handles.add(new Storage(&client.device(), &client.device().memory(), 8, kComputeLane)));
      HN_CHECK(live.back() < 0x1p53);
    } else if (!live.empty()) {
      const size_t at = random() % live.size();
      HN_CHECK(handles.release(live[at]) && !handles.release(live[at]));
      dead.push_back(live[at]);
      live[at] = live.back();
      live.pop_back();
    }
  }
  for (const double handle : live) HN_CHECK(handles.find(handle));
  for (const double handle : dead) HN_CHECK(!handles.find(handle));
  for (const double handle : {0.0, -1.0, 0.5, 1e300, -1e300, __builtin_nan(""), __builtin_inf(), live[0] + 0.5}) {
    HN_CHECK(!handles.find(handle));
  }
}

void run() {
  sizes();
  many_threads();
  stale_handles();
}

const Suite suite("allocator", run);

}  // namespace
}  // namespace hn::test
