#include "test/fake_backend.h"

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "core/generated/ops.h"
#include "core/platform/threads.h"

namespace hn::test {
namespace {

void sleep_us(double us) { std::this_thread::sleep_for(std::chrono::microseconds(static_cast<int64_t>(us))); }

/// A stream: a thread that does what it is given, in order.
class Stream {
 public:
  Stream() : thread_([this] { run(); }) {}
  ~Stream() {
    push(nullptr);
    thread_.join();
  }
  void push(std::function<void()> work) {
    {
      platform::Lock lock(mutex_);
      queue_.push_back(std::move(work));
    }
    changed_.notify_one();
  }

 private:
  void run() {
    for (;;) {
      platform::Lock lock(mutex_);
      changed_.wait(lock, [&] { return !queue_.empty(); });
      std::function<void()> work = std::move(queue_.front());
      queue_.pop_front();
      lock.unlock();
      if (!work) return;
      work();
    }
  }

  platform::Mutex mutex_;
  platform::CondVar changed_;
  std::deque<std::function<void()>> queue_;
  std::thread thread_;
};

struct Event {
  platform::Mutex mutex;
  platform::CondVar changed;
  bool reached = false;

  void reach() {
    platform::Lock lock(mutex);
    reached = true;
    changed.notify_all();
  }
  void wait() {
    platform::Lock lock(mutex);
    changed.wait(lock, [&] { return reached; });
  }
};
using EventPtr = std::shared_ptr<Event>;

struct FakeDevice {
  std::unique_ptr<Stream> streams[kLaneCount];  // none when synchronous

  void enqueue(Lane lane, std::function<void()> work) {
    if (streams[lane]) {
      streams[lane]->push(std::move(work));
    } else {
      work();
    }
  }
  EventPtr mark(Lane lane) {
    auto event = std::make_shared<Event>();
    enqueue(lane, [event] { event->reach(); });
    return event;
  }
};

FakeDevice& get(void* device) { return *static_cast<FakeDevice*>(device); }

/// What a kernel needs, copied: the call's arrays are gone when the stream comes to it.
struct Work {
  std::vector<TensorView> inputs, outputs;
  Kernel kernel;
  double addend = 0, amount = 0;
  void* workspace = nullptr;

  void run() const {
    while (fake_state().gate_closed.load()) sleep_us(50);
    if (kernel == kSlowAdd) sleep_us(amount);
    if (workspace) std::memset(workspace, 0x5a, static_cast<size_t>(amount) + (kernel == kBesideWork ? 1 : 0));
    for (const TensorView& out : outputs) {
      for (int64_t i = 0; i < out.elements(); ++i) {
        int64_t sum = static_cast<int64_t>(addend) + (kernel == kAddInPlace ? out.as<int64_t>()[i] : 0);
        for (const TensorView& in : inputs) sum += in.as<int64_t>()[i];
        out.as<int64_t>()[i] = sum;
      }
      if (kernel == kBeside) out.as<uint8_t>()[static_cast<int64_t>(amount)] ^= 1;
    }
  }
};

int32_t device_count(const char** reason) {
  *reason = "";
  return 1;
}

template <bool kAsync>
Status open(int32_t, void** device) {
  auto* fake = new FakeDevice;
  if (kAsync) {
    for (auto& stream : fake->streams) stream = std::make_unique<Stream>();
  }
  *device = fake;
  return {};
}

void close(void* device) { delete &get(device); }

void describe(void*, DeviceInfo* out) {
  *out = {};
  out->default_limit_bytes = uint64_t{1} << 30;
}

Status alloc(void*, size_t bytes, void** out) {
  *out = std::malloc(bytes);
  fake_state().allocated += static_cast<int64_t>(bytes);
  return {};
}

void free(void* device, void* data, size_t bytes) {
  // As cudaFree does: issued work may still be on it.
  for (int lane = 0; lane < kLaneCount; ++lane) get(device).mark(static_cast<Lane>(lane))->wait();
  fake_state().allocated -= static_cast<int64_t>(bytes);
  std::free(data);
}

Status upload(void* device, Lane lane, void* dst, const void* src, size_t bytes) {
  std::vector<char> copy(static_cast<const char*>(src), static_cast<const char*>(src) + bytes);
  get(device).enqueue(lane, [dst, copy = std::move(copy)] {
    if (!copy.empty()) std::memcpy(dst, copy.data(), copy.size());
  });
  return {};
}

Status download(void* device, Lane lane, void* dst, const void* src, size_t bytes) {
  get(device).enqueue(lane, [=] { std::memcpy(dst, src, bytes); });
  return {};
}

Status launch(void* device, Lane lane, const LaunchHost* host, const OpCall* call) {
  ++fake_state().launches;
  Work work{};
  work.kernel = static_cast<Kernel>(static_cast<int>(call->attrs[0]));
  work.addend = call->attrs[1];
  work.amount = call->attrs[2];
  const TensorView* tensors = call->tensors;
  work.inputs.assign(tensors, tensors + call->arg_counts[0]);
  work.outputs.assign(tensors + call->arg_counts[0], tensors + call->arg_counts[0] + call->arg_counts[1]);
  if (work.kernel == kFail) return Status::invalid("told to fail");
  if (work.kernel == kWorkspace || work.kernel == kBesideWork) {
    work.workspace = host->workspace(host->self, static_cast<size_t>(work.amount));
    if (!work.workspace) return Status::no_memory();
  }
  get(device).enqueue(lane, [work = std::move(work)] { work.run(); });
  return {};
}

bool supports(uint32_t, DType) { return true; }

template <bool kAsync>
Status event_record(void* device, Lane lane, void** event) {
  *event = nullptr;
  if (!kAsync) return {};
  ++fake_state().events;
  *event = new EventPtr(get(device).mark(lane));
  return {};
}

Status event_wait(void*, void* event) {
  (*static_cast<EventPtr*>(event))->wait();
  return {};
}

Status lane_wait(void* device, Lane lane, void* event) {
  get(device).enqueue(lane, [waited = *static_cast<EventPtr*>(event)] { waited->wait(); });
  return {};
}

void event_free(void*, void* event) {
  --fake_state().events;
  delete static_cast<EventPtr*>(event);
}

bool take_fault(void*, DataFault*) { return false; }

template <bool kAsync>
constexpr BackendTable make_table() {
  return {kBackendVersion,
          sizeof(BackendTable),
          kOpsHash,
          kAsync ? "fake_async" : "fake",
          device_count,
          open<kAsync>,
          close,
          describe,
          alloc,
          free,
          upload,
          download,
          launch,
          supports,
          event_record<kAsync>,
          event_wait,
          lane_wait,
          event_free,
          take_fault,
          /*host_memory=*/!kAsync};
}

constexpr BackendTable kSync = make_table<false>(), kAsync = make_table<true>();

}  // namespace

FakeState& fake_state() {
  static FakeState state;
  return state;
}

const BackendTable& fake_backend(bool asynchronous) { return asynchronous ? kAsync : kSync; }

}  // namespace hn::test
