// What the processor can multiply and add at most: chains of dependent multiply-adds, enough of them at once to hide
// their latency, on all threads. Nothing is loaded or stored, so no kernel can be faster than this.
//
// Compiled once for each instruction set by bench/limits.ts, with the flags of that set's kernels.
//   fma_peak THREADS ROUNDS  ->  one JSON object; rates in GFLOP/s, a multiply-add counting two

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <numeric>
#include <thread>
#include <vector>

namespace {

// Chains: latency (4 or 5 cycles) x units (2) is the least that keeps the units busy; as many as the registers hold,
// less two for the factors, leaves slack.
#if defined(__AVX512F__)
constexpr int kVectorBytes = 64, kChains = 28;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32, kChains = 12;
#else
constexpr int kVectorBytes = 16, kChains = 12;  // no fused form: a multiplication and an addition, still two FLOPs
#endif

template <class T>
using Vec [[gnu::vector_size(kVectorBytes)]] = T;

template <class T>
constexpr int kLanes = kVectorBytes / sizeof(T);

/// Factors come from outside, or the compiler would do the loop's work beforehand. With |a| < 1 the chains settle at
/// b / (1 - a): no infinities, no subnormals.
template <class T>
[[gnu::noinline]] T multiply_add(int64_t steps, T a, T b) {
  Vec<T> factor = Vec<T>{} + a, term = Vec<T>{} + b, chain[kChains];
#pragma GCC unroll 28
  for (int c = 0; c < kChains; ++c) chain[c] = Vec<T>{} + static_cast<T>(c);
  for (int64_t s = 0; s < steps; ++s) {
#pragma GCC unroll 28
    for (int c = 0; c < kChains; ++c) chain[c] = chain[c] * factor + term;
  }
  Vec<T> sum{};
#pragma GCC unroll 28
  for (int c = 0; c < kChains; ++c) sum += chain[c];
  return sum[0];
}

/// A chain of rotations and additions of one cycle each: steps per second are half the clock, on every x86-64 of the
/// last fifteen years.
[[gnu::noinline]] uint64_t two_cycles(int64_t steps, uint64_t x, uint64_t k) {
#pragma GCC unroll 16
  for (int64_t s = 0; s < steps; ++s) x = std::rotl(x, 5) + k;
  return x;
}

std::atomic<double> sink;

double thread_seconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

/// Seconds that `work` takes when all threads do it at once: the mean of the time that each spent on a processor. Where
/// other programs take turns on the same cores the clock on the wall would make the machine look slower than it is, and
/// every kernel nearer to its limit.
template <class Work>
double seconds(int threads, Work work) {
  std::atomic<int> ready{0};
  std::atomic<bool> go{false};
  std::vector<double> spent(static_cast<size_t>(threads));
  std::vector<std::thread> team;
  for (double& mine : spent) {
    team.emplace_back([&] {
      ready.fetch_add(1);
      while (!go.load(std::memory_order_acquire)) std::this_thread::yield();
      const double start = thread_seconds();
      sink.store(static_cast<double>(work()), std::memory_order_relaxed);
      mine = thread_seconds() - start;
    });
  }
  while (ready.load() < threads) std::this_thread::yield();
  go.store(true, std::memory_order_release);
  for (std::thread& thread : team) thread.join();
  return std::accumulate(spent.begin(), spent.end(), 0.0) / threads;
}

struct Rates {
  double best, median;
};

/// Rates, in billions of `units` a second, over rounds of about `round_seconds`.
template <class Work>
Rates rate(int threads, int rounds, double round_seconds, double units_per_step, Work work) {
  int64_t steps = 100'000;
  for (double t = 0; (t = seconds(threads, [&] { return work(steps); })) < round_seconds / 2;) {
    steps = static_cast<int64_t>(static_cast<double>(steps) * std::clamp(round_seconds / std::max(t, 1e-9), 1.5, 20.0));
  }
  std::vector<double> rates;
  for (int r = 0; r < rounds; ++r) {
    const double t = seconds(threads, [&] { return work(steps); });
    rates.push_back(units_per_step * static_cast<double>(steps) / t * 1e-9);
  }
  std::sort(rates.begin(), rates.end());
  return {rates.back(), rates[rates.size() / 2]};
}

template <class T>
Rates flops(int threads, int rounds, T a) {
  const double per_step = 2.0 * kChains * kLanes<T> * threads;
  return rate(threads, rounds, 0.02, per_step, [=](int64_t steps) { return multiply_add<T>(steps, a, T(1)); });
}

}  // namespace

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::max(1, std::atoi(argv[1])) : 1;
  const int rounds = argc > 2 ? std::max(1, std::atoi(argv[2])) : 25;
  const Rates f32 = flops<float>(threads, rounds, 0.5f);
  const Rates f64 = flops<double>(threads, rounds, 0.5);
  // After the others, when the clock has settled under load; a rate for each thread, hence no factor of threads.
  const uint64_t k = static_cast<uint64_t>(argc) * 0x9e3779b97f4a7c15u;
  const Rates clock = rate(threads, rounds, 0.02, 2, [=](int64_t steps) { return two_cycles(steps, 1, k); });
  std::printf(
      "{\"chains\":%d,\"lanesF32\":%d,\"lanesF64\":%d,\"threads\":%d,\"f32\":{\"best\":%.6g,\"median\":%.6g},"
      "\"f64\":{\"best\":%.6g,\"median\":%.6g},\"clockGHz\":{\"best\":%.6g,\"median\":%.6g}}\n",
      kChains, kLanes<float>, kLanes<double>, threads, f32.best, f32.median, f64.best, f64.median, clock.best,
      clock.median);
  return 0;
}
