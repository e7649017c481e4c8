// Queue, lanes, errors, abort, bounds and closing, on the fake backend in both its forms.

#include <random>
#include <string>
#include <thread>

#include "test/client.h"

namespace hn::test {
namespace {

/// Random programs over both lanes against a model on the host: fresh outputs, in-place writes, disposals while records
/// still wait, uploads, reads.
void random_program(bool asynchronous, unsigned seed) {
  std::mt19937 random(seed);
  auto below = [&](size_t n) { return static_cast<size_t>(random() % n); };
  Client client(asynchronous, uint64_t{1} << 20);
  struct Known {
    double handle;
    int64_t value;
  };
  std::vector<Known> tensors;
  std::vector<std::pair<std::unique_ptr<Client::Read>, int64_t>> reads;
  for (int step = 0; step < 400; ++step) {
    const Lane lane = below(3) == 0 ? kTransferLane : kComputeLane;
    const auto addend = static_cast<int64_t>(below(100));
    const size_t what = tensors.size() < 3 ? 0 : below(10);
    if (what == 0) {
      tensors.push_back({client.constant(addend, lane), addend});
    } else if (what == 1) {
      const std::vector<int64_t> bytes(kElements, addend);
      double handle = 0;
      HN_CHECK(client.device().upload(client.handles(), bytes.data(), kElements * 8, &handle) == Answer::ok);
      tensors.push_back({handle, addend});
    } else if (what <= 4) {
      const Known a = tensors[below(tensors.size())], b = tensors[below(tensors.size())];
      const Kernel kernel = std::array{kAdd, kSlowAdd, kWorkspace}[below(3)];
      const Params params{kernel, static_cast<double>(addend), 100.0 + static_cast<double>(below(200)), lane};
      tensors.push_back({client.call(params, {a.handle, b.handle}), (a.value + b.value + addend) % 1000003});
      client.write({kAddInPlace, static_cast<double>(tensors.back().value - a.value - b.value - addend), 0, lane}, {},
                   tensors.back().handle);
    } else if (what <= 6) {
      Known& target = tensors[below(tensors.size())];
      const Known source = tensors[below(tensors.size())];
      if (source.handle == target.handle) continue;
      client.write({kAddInPlace, static_cast<double>(addend), 0, lane}, {source.handle}, target.handle);
      target.value += addend + source.value;
    } else if (what <= 8) {
      const size_t gone = below(tensors.size());
      client.release(tensors[gone].handle);
      tensors[gone] = tensors.back();
      tensors.pop_back();
    } else {
      const Known& known = tensors[below(tensors.size())];
      reads.emplace_back(client.read(known.handle), known.value);
    }
  }
  for (auto& [read, expected] : reads) {
    HN_CHECK(!client.wait(read->ticket));
    for (const int64_t value : read->values) HN_CHECK(value == expected);
  }
  HN_CHECK(!client.wait(client.sync()));
  for (const Known& known : tensors) HN_CHECK(client.value(known.handle) == known.value);
  for (const Known& known : tensors) client.release(known.handle);
  HN_CHECK(!client.wait(client.sync()));
  HN_CHECK(client.device().memory().counters().live == 0);
}

void errors(bool asynchronous) {
  Client client(asynchronous);
  const double one = client.constant(1);
  const double failed = client.call({kFail}, {one});
  const double heir = client.call({}, {failed, one});
  client.write({kAddInPlace, 5}, {heir}, one);  // skipped: `one` keeps its value
  const double fine = client.call({.addend = 1}, {one});
  HN_CHECK(client.value(fine) == 2);

  // A read tells the error of the op that failed; then sync has nothing to tell.
  const auto read = client.read(heir);
  const ErrorPtr error = client.wait(read->ticket);
  HN_CHECK(error && error->code == Code::invalid_argument && error->message.find("[33] i64") != std::string::npos);
  HN_CHECK(!client.wait(client.sync()));

  // Untold, it is told by the next sync, once, and the first of two.
  const double second = client.call({kFail}, {});
  const double third = client.call({kFail}, {one});
  HN_CHECK(client.wait_code(client.sync()) == Code::invalid_argument);
  HN_CHECK(!client.wait(client.sync()));

  // A kernel that fails while it writes in place poisons what it wrote.
  client.write({kFail}, {}, one);
  HN_CHECK(client.wait_code(client.read(one)->ticket) == Code::invalid_argument);
  for (const double handle : {one, failed, heir, fine, second, third}) client.release(handle);
  for (const double stale : {one, 0.0, -1.0, 0.5, 1e300, double(HandleTable::kSlots + 999)}) {
    double out = 0;
    HN_CHECK(client.try_call({}, {stale}, {}, &out) == (stale == 0 ? Answer::ok : Answer::disposed));
    if (stale == 0) client.release(out);
  }
}

void out_of_memory(bool asynchronous) {
  Client client(asynchronous, 1 << 20);
  const double large = client.call({.elements = 100'000}, {});  // 800 kB of 1 MiB
  const double too_much = client.call({.elements = 100'000}, {});
  const auto read = client.read(too_much);
  const ErrorPtr error = client.wait(read->ticket);
  HN_CHECK(error && error->code == Code::out_of_memory);
  HN_CHECK(error->message.find("needs 781 KiB for output [100000] i64") != std::string::npos);
  client.release(large);
  client.release(too_much);
  HN_CHECK(!client.wait(client.sync()));

  // What was freed is used again, for another size too; workspace counts.
  for (int round = 0; round < 20; ++round) {
    const double again = client.call({.elements = 90'000 + 1000 * round}, {});
    const double small = client.call({kWorkspace, 0, 30'000}, {});
    const double starved = client.call({kWorkspace, 0, 900'000}, {});
    HN_CHECK(client.wait_code(client.sync()) == Code::out_of_memory);
    for (const double handle : {again, small, starved}) client.release(handle);
  }
  const MemoryCounters counters = client.device().memory().counters();
  HN_CHECK(counters.live == 0 && counters.cached <= counters.limit && counters.peak <= counters.limit);
  client.device().memory().trim();
  HN_CHECK(client.device().memory().counters().cached == 0);
}

void abort_read() {
  Client client(false);
  ClosedGate gate;
  const int64_t before = fake_state().launches;
  const double blocker = client.constant(0), b = client.constant(2, kTransferLane);
  while (fake_state().launches < before + 2) std::this_thread::yield();  // both lanes stand at the gate
  const double a = client.constant(1), shared = client.constant(4);
  const double sum = client.call({}, {a, b});
  const double other = client.call({.addend = 1}, {shared});
  client.write({kAddInPlace, 10}, {}, other);
  const auto wanted = client.read(sum), kept = client.read(other);
  HN_CHECK(client.device().abort(wanted->ticket));
  HN_CHECK(!client.device().abort(wanted->ticket + 1000));
  gate.open();
  HN_CHECK(client.wait_code(wanted->ticket) == Code::aborted);
  HN_CHECK(!client.wait(kept->ticket) && kept->values[0] == 15);
  HN_CHECK(!client.wait(client.sync()));
  HN_CHECK(!client.device().abort(kept->ticket));
  HN_CHECK(client.value(blocker) == 0 && client.value(b) == 2);  // had started
  HN_CHECK(client.wait_code(client.read(a)->ticket) == Code::aborted);
  HN_CHECK(client.value(client.call({.addend = 7}, {shared})) == 11);
}

/// A cancelled record still orders its lane behind the other one.
void abort_keeps_order() {
  Client client(false);
  ClosedGate gate;
  const int64_t before = fake_state().launches;
  const double target = client.constant(6, kTransferLane);
  while (fake_state().launches == before) std::this_thread::yield();
  client.write({kAddInPlace, 1}, {}, target);
  const auto read = client.read(target);
  HN_CHECK(client.device().abort(read->ticket));
  const auto second = client.read(target);
  for (int i = 0; i < 100; ++i) std::this_thread::yield();
  gate.open();
  HN_CHECK(client.wait_code(read->ticket) == Code::aborted);
  HN_CHECK(!client.wait(second->ticket) && second->values[0] == 6);
}

/// Of two reads of one tensor one may be aborted; what both need stays.
void abort_one_of_two() {
  Client client(false);
  ClosedGate gate;
  (void)client.constant(0);
  const double target = client.constant(6);
  client.write({kAddInPlace, 1}, {}, target);
  const auto read = client.read(target), second = client.read(target);
  HN_CHECK(client.device().abort(read->ticket));
  gate.open();
  HN_CHECK(client.wait_code(read->ticket) == Code::aborted);
  HN_CHECK(!client.wait(second->ticket) && second->values[0] == 7);
}

void abort_sync() {
  Client client(false);
  const double target = client.constant(3);
  HN_CHECK(!client.wait(client.sync()));
  ClosedGate gate;
  (void)client.constant(0);
  (void)client.constant(0, kTransferLane);
  for (int i = 0; i < 100; ++i) client.write({kAddInPlace, 1}, {}, target);
  const double never = client.constant(9);
  const uint64_t ticket = client.sync();
  const double later = client.constant(5);
  const int64_t before = fake_state().launches;
  HN_CHECK(client.device().abort(ticket));
  gate.open();
  HN_CHECK(client.wait_code(ticket) == Code::aborted);
  HN_CHECK(client.value(later) == 5);  // what was queued after the sync runs
  HN_CHECK(fake_state().launches - before <= 3);
  HN_CHECK(client.value(target) == 3);  // skipped in-place writes leave the old value
  HN_CHECK(client.wait_code(client.read(never)->ticket) == Code::aborted);
  HN_CHECK(!client.wait(client.sync()));
}

void bounds() {
  Client client(false);
  ClosedGate gate;
  (void)client.constant(0);
  const std::vector<char> bytes(Device::kStagingBound / 4 + 1);
  double handle = 0;
  std::vector<double> accepted;
  Answer answer;
  while ((answer = client.device().upload(client.handles(), bytes.data(), bytes.size(), &handle)) == Answer::ok) {
    accepted.push_back(handle);
  }
  HN_CHECK(answer == Answer::queue_full && accepted.size() == 3);
  for (uint64_t i = 0; (answer = client.try_call({}, {}, {}, &handle)) == Answer::ok; ++i) {
    HN_CHECK(i <= LaneQueue::kCapacity);
    client.release(handle);
  }
  HN_CHECK(answer == Answer::queue_full);
  gate.open();
  while (client.device().counters().pending > 0) std::this_thread::yield();
  HN_CHECK(!client.wait(client.sync()));
  for (const double upload : accepted) client.release(upload);
}

/// Closing with work queued: every promise is settled, every byte comes back.
void close_in_the_middle(bool asynchronous, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<std::unique_ptr<Client::Read>> reads;
  Client client(asynchronous);
  for (int i = 0; i < 60; ++i) {
    const Lane lane = random() % 2 == 0 ? kComputeLane : kTransferLane;
    const double tensor = client.call({kSlowAdd, 1, double(random() % 300), lane}, {});
    reads.push_back(client.read(tensor));
    if (random() % 2 == 0) client.release(tensor);
  }
  const uint64_t last = client.sync();
  std::this_thread::sleep_for(std::chrono::microseconds(random() % 8000));
  client.close();
  for (const auto& read : reads) {
    HN_CHECK(client.has_arrived(read->ticket));
    const Code code = client.wait_code(read->ticket);
    HN_CHECK(code == Code::disposed || (code == Code::ok && read->values[0] == 1));
  }
  HN_CHECK(client.has_arrived(last));
}

/// Aborts at random moments while both lanes run.
void abort_race(bool asynchronous, unsigned seed) {
  std::mt19937 random(seed);
  Client client(asynchronous);
  for (int round = 0; round < 30; ++round) {
    std::vector<double> made{client.constant(1)};
    for (int i = 0; i < 30; ++i) {
      const Lane lane = random() % 2 == 0 ? kComputeLane : kTransferLane;
      made.push_back(client.call({kAdd, 1, 0, lane}, {made[random() % made.size()]}));
    }
    const auto read = client.read(made.back());
    const uint64_t sync = client.sync();
    for (unsigned i = 0; i < random() % 2000; ++i) platform::spin_pause();
    client.device().abort(random() % 2 == 0 ? read->ticket : sync);
    const Code read_code = client.wait_code(read->ticket), sync_code = client.wait_code(sync);
    HN_CHECK(read_code == Code::ok || read_code == Code::aborted);
    HN_CHECK(sync_code == Code::ok || sync_code == Code::aborted);
    for (const double handle : made) client.release(handle);
  }
  HN_CHECK(!client.wait(client.sync()));
}

void garbage() {
  Client client(false);
  const double known = client.constant(1);
  std::mt19937 random(7);
  const double values[] = {0, 1, 2, 3, 4, 6, 1e15, 0x1p53, -1, 0.5, 1e300, -0.0, known, known + 1, __builtin_nan("")};
  auto& mailbox = client.mailbox();
  mailbox.resize(48);
  for (int round = 0; round < rounds(100'000); ++round) {
    for (double& value : mailbox) value = values[random() % std::size(values)];
    mailbox[2] = 77;  // more arguments than the mailbox holds: never accepted, so nothing is launched
    HN_CHECK(client.device().submit(client.handles(), mailbox) != Answer::ok);
  }
  HN_CHECK(client.device().counters().handles == 1 && client.device().counters().pending == 0);
}

void run() {
  for (const bool asynchronous : {false, true}) {
    errors(asynchronous);
    out_of_memory(asynchronous);
    for (int seed = 0; seed < rounds(8); ++seed) {
      const auto s = static_cast<unsigned>(seed);
      random_program(asynchronous, s);
      close_in_the_middle(asynchronous, s);
      abort_race(asynchronous, s);
    }
  }
  abort_read();
  abort_keeps_order();
  abort_one_of_two();
  abort_sync();
  bounds();
  garbage();
  // Several devices at once, each with a submitting thread of its own, as worker threads have them.
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < 3; ++i) threads.emplace_back([i] { random_program(i % 2 == 0, 100 + i); });
  for (std::thread& thread : threads) thread.join();
  HN_CHECK(fake_state().allocated == 0);
  HN_CHECK(fake_state().events == 0);
}

const Suite suite("runtime", run);

}  // namespace
}  // namespace hn::test
