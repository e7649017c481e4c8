// What memory can move at most: all threads copy, read or write arrays far larger than the last cache.
//
// Rates count the bytes that a program asks for (a copy reads n and writes n). A store to a line that is not in the
// cache first loads it, unless it is a streaming store: both kinds of copy are measured, the faster one is the limit.
//   memory_bandwidth THREADS ROUNDS  ->  one JSON object; rates in GB/s (1e9 bytes)

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

#include <unistd.h>

namespace {

using Clock = std::chrono::steady_clock;
using Vec [[gnu::vector_size(32)]] = uint64_t;  // two registers where the set is narrower
constexpr size_t kPage = 4096;

std::atomic<uint64_t> sink;

/// Large enough that next to nothing could come from the cache, small enough for a modest machine. (The system may name
/// the cache of the whole processor where a virtual machine has a share of it.)
size_t array_bytes() {
  const size_t cache = static_cast<size_t>(std::max(0L, sysconf(_SC_LEVEL3_CACHE_SIZE)));
  return std::clamp(8 * cache, size_t{256} << 20, size_t{512} << 20);
}

struct Range {
  std::byte* dst;
  const std::byte* src;
  size_t bytes;
};

void copy_streaming(const Range& r) { std::memcpy(r.dst, r.src, r.bytes); }  // libc streams past its threshold

void copy_plain(const Range& r) {
  const auto* src = reinterpret_cast<const Vec*>(r.src);
  auto* dst = reinterpret_cast<Vec*>(r.dst);
  for (size_t i = 0; i < r.bytes / sizeof(Vec); ++i) dst[i] = src[i];
}

void read(const Range& r) {
  const auto* src = reinterpret_cast<const Vec*>(r.src);
  Vec sum[4] = {};
  for (size_t i = 0; i + 4 <= r.bytes / sizeof(Vec); i += 4)
    for (size_t j = 0; j < 4; ++j) sum[j] ^= src[i + j];
  const Vec all = sum[0] ^ sum[1] ^ sum[2] ^ sum[3];
  sink.fetch_xor(all[0] ^ all[1] ^ all[2] ^ all[3], std::memory_order_relaxed);
}

void write(const Range& r) {
  auto* dst = reinterpret_cast<Vec*>(r.dst);
  const Vec value = Vec{} + r.bytes;
  for (size_t i = 0; i < r.bytes / sizeof(Vec); ++i) dst[i] = value;
}

class Arrays {
 public:
  Arrays(int threads, size_t bytes) : threads_(threads), bytes_(bytes / (kPage * threads) * kPage * threads) {
    src_ = static_cast<std::byte*>(std::aligned_alloc(kPage, bytes_));
    dst_ = static_cast<std::byte*>(std::aligned_alloc(kPage, bytes_));
    if (!src_ || !dst_) std::exit(1);
    // Each thread touches its own part first, so that on several memory nodes it lies near.
    seconds([](const Range& r) {
      std::memset(const_cast<std::byte*>(r.src), 1, r.bytes);
      std::memset(r.dst, 2, r.bytes);
    });
  }
  ~Arrays() {
    std::free(src_);
    std::free(dst_);
  }
  Arrays(const Arrays&) = delete;
  Arrays& operator=(const Arrays&) = delete;

  /// The best of the rounds, in GB/s, where one pass moves `passes` times the array.
  double best_rate(int rounds, int passes, void (*work)(const Range&)) const {
    double best = 0;
    for (int r = 0; r < rounds; ++r) {
      best = std::max(best, static_cast<double>(bytes_) * passes / seconds(work) * 1e-9);
    }
    return best;
  }

  size_t bytes() const { return bytes_; }

 private:
  double seconds(void (*work)(const Range&)) const {
    const size_t part = bytes_ / static_cast<size_t>(threads_);
    std::atomic<int> ready{0};
    std::atomic<bool> go{false};
    std::vector<std::thread> team;
    for (int t = 0; t < threads_; ++t) {
      const size_t start = part * static_cast<size_t>(t);
      team.emplace_back([this, start, part, work, &ready, &go] {
        ready.fetch_add(1);
        while (!go.load(std::memory_order_acquire)) std::this_thread::yield();
        work({dst_ + start, src_ + start, part});
      });
    }
    while (ready.load() < threads_) std::this_thread::yield();
    const auto start = Clock::now();
    go.store(true, std::memory_order_release);
    for (std::thread& thread : team) thread.join();
    return std::chrono::duration<double>(Clock::now() - start).count();
  }

  int threads_;
  size_t bytes_;
  std::byte* src_ = nullptr;
  std::byte* dst_ = nullptr;
};

}  // namespace

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::max(1, std::atoi(argv[1])) : 1;
  const int rounds = argc > 2 ? std::max(1, std::atoi(argv[2])) : 7;
  const Arrays arrays(threads, array_bytes());
  const double streaming = arrays.best_rate(rounds, 2, copy_streaming);
  const double plain = arrays.best_rate(rounds, 2, copy_plain);
  const double reading = arrays.best_rate(rounds, 1, read);
  const double writing = arrays.best_rate(rounds, 1, write);
  std::printf(
      "{\"threads\":%d,\"arrayBytes\":%zu,\"copyStreaming\":%.6g,\"copyPlain\":%.6g,\"read\":%.6g,\"write\":%.6g}\n",
      threads, arrays.bytes(), streaming, plain, reading, writing);
  return 0;
}
