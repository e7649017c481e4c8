// What the addon does for JavaScript, for tests in C++: handles, a mailbox, and completions that one can wait for.
#pragma once

#include <map>
#include <memory>
#include <string_view>
#include <vector>

#include "core/device.h"
#include "core/generated/ops.h"
#include "test/fake_backend.h"
#include "test/suite.h"

namespace hn::test {

constexpr int64_t kElements = 33;  // of every tensor, int64

/// The fake backend's calls go under the name of an op whose arguments begin with two lists: lllll?|nnnnnnN.
constexpr uint32_t kBorrowedOp = [] {
  uint32_t op = 0;
  while (std::string_view(kOpNames[op]) != "adamw_step") ++op;
  return op;
}();

struct Params {
  Kernel kernel = kAdd;
  double addend = 0;
  double amount = 0;
  Lane lane = kComputeLane;
  int64_t elements = kElements;  // of fresh outputs
};

class Client {
 public:
  explicit Client(bool asynchronous, uint64_t limit = 0) : Client(fake_backend(asynchronous), limit) {}
  Client(const BackendTable& table, uint64_t limit) : mailbox_(1 << 16) {
    const CompletionSink sink{
        this, [](void* self, Completion&& done) { static_cast<Client*>(self)->arrived(std::move(done)); }};
    HN_CHECK(Device::open(table, 0, limit, sink, &device_).ok());
  }
  ~Client() { close(); }

  Device& device() { return *device_; }
  HandleTable& handles() { return handles_; }
  std::vector<double>& mailbox() { return mailbox_; }

  /// Stops the device and gives everything back; completions of pending waits arrive before it returns.
  void close() {
    if (!device_) return;
    device_->stop();
    handles_.release_all(device_.get());
    device_->close();
    HN_CHECK(device_->memory().counters().live == 0 && device_->memory().counters().workspace == 0);
    const DeviceCounters counters = device_->counters();
    HN_CHECK(counters.handles == 0 && counters.pending == 0 && counters.staging == 0);
    device_.reset();
  }

  /// Queues a call with one fresh output (none for kAddInPlace, which writes `written`).
  Answer try_call(const Params& params, const std::vector<double>& inputs, const std::vector<double>& written,
                  double* out) {
    size_t at = 0;
    auto put = [&](double value) { mailbox_[at++] = value; };
    auto tensor = [&](double handle, int flags, int64_t elements) {
      for (const double value : {handle, double(flags), double(int(DType::i64)), 0.0, 1.0, double(elements), 1.0})
        put(value);
    };
    for (const double value : {double(kBorrowedOp), double(params.lane), 6.0, 7.0}) put(value);
    put(double(inputs.size()));
    for (const double handle : inputs) tensor(handle, 0, kElements);
    put(double(written.size() + (out ? 1 : 0)));
    for (const double handle : written) tensor(handle, 1, kElements);
    const size_t fresh = at;
    if (out) tensor(0, 1, params.elements);
    for (int missing = 2; missing < 6; ++missing) put(0);
    for (const double value : {double(params.kernel), params.addend, params.amount, 0.0, 0.0, 0.0, 0.0}) put(value);
    const Answer answer = device_->submit(handles_, mailbox_);
    if (out) *out = mailbox_[fresh];
    return answer;
  }
  double call(const Params& params, const std::vector<double>& inputs) {
    double out = 0;
    HN_CHECK(try_call(params, inputs, {}, &out) == Answer::ok);
    return out;
  }
  void write(const Params& params, const std::vector<double>& inputs, double target) {
    HN_CHECK(try_call(params, inputs, {target}, nullptr) == Answer::ok);
  }
  double constant(int64_t value, Lane lane = kComputeLane) { return call({.addend = double(value), .lane = lane}, {}); }
  void release(double handle) { HN_CHECK(handles_.release(handle)); }

  struct Read {
    std::vector<int64_t> values = std::vector<int64_t>(kElements, -1);
    uint64_t ticket = 0;
  };
  /// The result must outlive its completion.
  std::unique_ptr<Read> read(double handle) {
    auto result = std::make_unique<Read>();
    HN_CHECK(device_->download(handles_, handle, 0, result->values.data(), kElements * 8, &result->ticket) ==
             Answer::ok);
    return result;
  }
  uint64_t sync() {
    uint64_t ticket = 0;
    HN_CHECK(device_->sync(&ticket) == Answer::ok);
    return ticket;
  }
  /// The ticket's error, null when all went well.
  ErrorPtr wait(uint64_t ticket) {
    platform::Lock lock(mutex_);
    changed_.wait(lock, [&] { return done_.contains(ticket); });
    ErrorPtr error = done_[ticket];
    done_.erase(ticket);
    return error;
  }
  Code wait_code(uint64_t ticket) {
    const ErrorPtr error = wait(ticket);
    return error ? error->code : Code::ok;
  }
  bool has_arrived(uint64_t ticket) {
    platform::Lock lock(mutex_);
    return done_.contains(ticket);
  }
  /// Reads a tensor whose elements must all be the same.
  int64_t value(double handle) {
    const auto result = read(handle);
    HN_CHECK(!wait(result->ticket));
    for (const int64_t value : result->values) HN_CHECK(value == result->values[0]);
    return result->values[0];
  }

 private:
  void arrived(Completion&& done) {
    platform::Lock lock(mutex_);
    HN_CHECK(!done_.contains(done.ticket));
    done_[done.ticket] = std::move(done.error);
    changed_.notify_all();
  }

  HandleTable handles_;
  std::vector<double> mailbox_;
  platform::Mutex mutex_;
  platform::CondVar changed_;
  std::map<uint64_t, ErrorPtr> done_;
  std::unique_ptr<Device> device_;
};

/// While it lives, the fake backend's kernels wait before they compute.
class ClosedGate {
 public:
  ClosedGate() { fake_state().gate_closed = true; }
  ~ClosedGate() { open(); }
  void open() { fake_state().gate_closed = false; }
};

}  // namespace hn::test
