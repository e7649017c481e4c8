// The thread pool, called from several threads at once, and recorded op calls on several devices at once: they share
// the pool, and each has a lane's thread of its own.

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <numeric>
#include <thread>

#include "core/generated/ops.h"
#include "cpu/backend.h"
#include "cpu/thread_pool.h"
#include "test/client.h"
#include "test/replayed_call.h"

namespace hn::test {
namespace {

using cpu::ThreadPool;

/// Each index once, and everything done when `run` returns: plain memory, so a missing order is a race.
void fill_and_check(ThreadPool& pool, int64_t n) {
  std::vector<int64_t> seen(static_cast<size_t>(n), -1);
  pool.run(
      n, [](void* body, int64_t i) { (*static_cast<std::vector<int64_t>*>(body))[static_cast<size_t>(i)] = i; }, &seen);
  for (int64_t i = 0; i < n; ++i) HN_CHECK(seen[static_cast<size_t>(i)] == i);
}

void many_callers(int pool_threads) {
  ThreadPool pool(pool_threads);
  std::vector<std::thread> callers;
  for (int64_t caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&pool, caller] {
      for (int64_t round = 0; round < rounds(300); ++round) fill_and_check(pool, (round * 7 + caller) % 40);
    });
  }
  for (std::thread& caller : callers) caller.join();
}

/// A loop in a task runs inline: it must neither wait for the pool nor lose indices.
void nested() {
  ThreadPool pool(3);
  struct Body {
    ThreadPool& pool;
    std::atomic<int64_t> sum{0};
  } body{pool};
  const auto inner = [](void* sum, int64_t i) { *static_cast<std::atomic<int64_t>*>(sum) += i; };
  struct Outer {
    Body& body;
    ThreadPool::Task inner;
  } outer{body, inner};
  pool.run(
      20,
      [](void* raw, int64_t) {
        const auto& o = *static_cast<Outer*>(raw);
        o.body.pool.run(10, o.inner, &o.body.sum);
      },
      &outer);
  HN_CHECK(body.sum == 20 * 45);
}

/// Pools are made and ended while their workers spin, sleep or have just woken.
void short_lives() {
  for (int round = 0; round < rounds(60); ++round) {
    ThreadPool pool(1 + round % 4);
    HN_CHECK(pool.threads() >= 1);
    if (round % 3 != 0) fill_and_check(pool, round);
    if (round % 5 == 0) std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
}

/// A recorded call through a device: uploads, the call, reads of what it wrote.
class DeviceReplay {
 public:
  DeviceReplay(Client& client, const Case& recorded) : client_(client), case_(recorded) {}

  void run() {
    submit();
    for (size_t i = 0; i < case_.tensors.size(); ++i) {
      if (case_.tensors[i].written) check(case_.tensors[i], handles_[i]);
    }
    for (const double handle : handles_) client_.release(handle);
  }

 private:
  void submit() {
    auto& box = client_.mailbox();
    size_t at = 0, tensor = 0;
    auto put = [&](double value) { box[at++] = value; };
    for (const size_t value : {size_t{case_.op}, size_t{0}, case_.arg_counts.size(), case_.attrs.size()}) {
      put(static_cast<double>(value));
    }
    std::vector<size_t> handle_at;
    for (const int32_t count : case_.arg_counts) {
      put(count);
      for (int32_t i = 0; i < count; ++i) {
        handle_at.push_back(at);
        at = put_tensor(case_.tensors[tensor++], at);
      }
    }
    for (const double attr : case_.attrs) put(attr);
    HN_CHECK(client_.device().submit(client_.handles(), box) == Answer::ok);
    for (const size_t place : handle_at) handles_.push_back(box[place]);
  }

  size_t put_tensor(const RecordedUse& use, size_t at) {
    auto& box = client_.mailbox();
    double handle = 0;
    if (!use.fresh) {
      HN_CHECK(client_.device().upload(client_.handles(), use.before.data(), use.bytes, &handle) == Answer::ok);
    }
    const TensorView& view = use.view;
    for (const double value : {handle, double(use.written), double(int(view.dtype)), 0.0, double(view.rank)}) {
      box[at++] = value;
    }
    for (int i = 0; i < view.rank; ++i) box[at++] = static_cast<double>(view.shape[i]);
    for (int i = 0; i < view.rank; ++i) box[at++] = static_cast<double>(view.strides[i]);
    return at;
  }

  void check(const RecordedUse& use, double handle) {
    std::vector<char> got(use.bytes);
    uint64_t ticket = 0;
    HN_CHECK(client_.device().download(client_.handles(), handle, 0, got.data(), got.size(), &ticket) == Answer::ok);
    HN_CHECK(!client_.wait(ticket));
    const std::string problem = compare(use, got.data());
    if (!problem.empty()) std::fprintf(stderr, "%s\n%s\n", problem.c_str(), case_.describe().c_str());
    HN_CHECK(problem.empty());
  }

  Client& client_;
  const Case& case_;
  std::vector<double> handles_;
};

/// Of each op the largest call that is not too large: it is cut into the most tasks.
std::vector<const Case*> one_of_each_op() {
  constexpr size_t kLargest = 1 << 20;
  std::array<const Case*, kOpCount> best{};
  for (const Case& c : recorded_cases().cases) {
    if (c.bytes() <= kLargest && (!best[c.op] || best[c.op]->bytes() < c.bytes())) best[c.op] = &c;
  }
  std::vector<const Case*> chosen;
  for (const Case* c : best) {
    if (c) chosen.push_back(c);
  }
  return chosen;
}

void several_devices() {
  if (!cases_path()) return (void)std::printf("      no --cases, nothing replayed\n");
  const std::vector<const Case*> chosen = one_of_each_op();
  std::vector<std::thread> submitters;
  for (size_t device = 0; device < 3; ++device) {
    submitters.emplace_back([&chosen, device] {
      Client client(*cpu_backend_table(), 0);
      for (int round = 0; round < rounds(2); ++round) {
        for (size_t i = 0; i < chosen.size(); ++i) {
          DeviceReplay(client, *chosen[(i + device * 7) % chosen.size()]).run();
        }
      }
    });
  }
  for (std::thread& submitter : submitters) submitter.join();
  std::printf("      %zu ops on 3 devices at once, pool of %d threads\n", chosen.size(),
              ThreadPool::shared().threads());
}

void run() {
  for (const int threads : {1, 2, 4}) many_callers(threads);
  nested();
  short_lives();
  several_devices();
}

const Suite suite("pool", run);

}  // namespace
}  // namespace hn::test
