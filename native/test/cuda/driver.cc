// hn_cuda_driver: the CUDA backend and the core above it, on a runtime that needs no GPU (fake_runtime.h).
#include <cstring>
#include <random>
#include <string>

#include "test/client.h"
#include "test/cuda/fake_kernels.h"
#include "test/cuda/fake_runtime.h"

extern "C" const hn::BackendTable* hn_backend_table();

namespace hn::test {
namespace {

const BackendTable& table() { return *hn_backend_table(); }

bool says(const char* text, const char* part) { return std::string_view(text).find(part) != std::string_view::npos; }
bool says(const ErrorPtr& error, const char* part) { return error && says(error->message.c_str(), part); }

/// All that a device has taken is given back, page-locked memory and events included.
void check_nothing_left() {
  const FakeCuda& fake = fake_cuda();
  HN_CHECK(fake.allocated == 0 && fake.pinned == 0 && fake.streams == 0 && fake.events == 0);
}

void reasons() {
  FakeCuda& fake = fake_cuda();
  const char* reason = "";
  HN_CHECK(table().device_count(&reason) == kFakeGpus && says(reason, "") && *reason == 0);
  fake.count_error = cudaErrorInsufficientDriver;
  fake.driver_version = 0;
  HN_CHECK(table().device_count(&reason) == 0 && says(reason, "libcuda.so.1") && says(reason, "or newer"));
  fake.driver_version = 11040;
  HN_CHECK(table().device_count(&reason) == 0 && says(reason, "too old: it speaks CUDA 11.4"));
  void* device = nullptr;
  HN_CHECK(says(table().open(0, &device).message, "too old"));
  fake.driver_version = 13000;
  fake.count_error = cudaErrorNoDevice;
  HN_CHECK(table().device_count(&reason) == 0 && says(reason, "shows no GPU"));
  fake.count_error = cudaSuccess;
  fake.compute_capability = 75;
  HN_CHECK(table().device_count(&reason) == 0 && says(reason, "capability 7.5; there are kernels from 8.0 on"));
  HN_CHECK(says(table().open(0, &device).message, "7.5"));
  fake.compute_capability = 90;
  HN_CHECK(says(table().open(kFakeGpus, &device).message, "no such GPU; this machine shows cuda:0 to cuda:1"));
  check_nothing_left();
}

void description() {
  void* device = nullptr;
  HN_CHECK(table().open(1, &device).ok());
  DeviceInfo info{};
  table().describe(device, &info);
  HN_CHECK(says(info.name, "Fake GPU") && says(info.detail, "capability 9.0, 4 multiprocessors"));
  HN_CHECK(says(info.driver, "CUDA 13.0; this build needs") && info.compute_capability == 90);
  HN_CHECK(info.memory_bytes == uint64_t{8} << 30 && info.free_bytes == info.memory_bytes);
  HN_CHECK(info.default_limit_bytes == info.free_bytes - (uint64_t{512} << 20));
  HN_CHECK(says(info.limit_reason, "8.0 GiB were free") && says(info.limit_reason, "512 MiB of them"));
  table().close(device);
  check_nothing_left();
}

/// Sizes about the slot's; sources that are overwritten at once, as the core does.
void copies() {
  constexpr size_t kSlot = size_t{4} << 20;
  void* device = nullptr;
  HN_CHECK(table().open(0, &device).ok());
  std::mt19937 random(1);
  size_t offset = 0;
  std::vector<char> want(11 * kSlot), got(want.size());
  void* memory = nullptr;
  HN_CHECK(table().alloc(device, want.size(), &memory).ok());
  char* const on_gpu = static_cast<char*>(memory);
  for (size_t bytes : {size_t{1}, size_t{63}, size_t{64}, kSlot - 100, kSlot, kSlot + 1, 6 * kSlot + 7, size_t{5}}) {
    std::vector<char> source(bytes);
    for (char& c : source) c = static_cast<char>(random());
    std::memcpy(want.data() + offset, source.data(), bytes);
    HN_CHECK(table().upload(device, kTransferLane, on_gpu + offset, source.data(), bytes).ok());
    std::fill(source.begin(), source.end(), char(0x55));
    offset += bytes;
  }
  for (int i = 0; i < 3000; ++i, ++offset) {
    const char c = want[offset] = static_cast<char>(random());
    HN_CHECK(table().upload(device, kTransferLane, on_gpu + offset, &c, 1).ok());
  }
  HN_CHECK(table().upload(device, kTransferLane, on_gpu, nullptr, 0).ok());
  // Two readers behind each other on the other lane, which has to wait for the uploads.
  void *uploaded = nullptr, *read = nullptr;
  HN_CHECK(table().event_record(device, kTransferLane, &uploaded).ok());
  HN_CHECK(table().lane_wait(device, kComputeLane, uploaded).ok());
  table().event_free(device, uploaded);
  HN_CHECK(table().download(device, kComputeLane, got.data(), on_gpu, 100).ok());
  HN_CHECK(table().download(device, kComputeLane, got.data() + 100, on_gpu + 100, offset - 100).ok());
  HN_CHECK(table().event_record(device, kComputeLane, &read).ok());
  HN_CHECK(table().event_wait(device, read).ok());
  table().event_free(device, read);
  HN_CHECK(std::memcmp(got.data(), want.data(), offset) == 0);
  HN_CHECK(fake_cuda().pinned <= int64_t(2 * 4 * kSlot + 64));  // two rings, and the words for faults
  table().free(device, memory, want.size());
  table().close(device);
  check_nothing_left();
}

/// Values through both lanes, with memory that is used again; the pool keeps the number of events down.
void lanes(unsigned seed) {
  std::mt19937 random(seed);
  Client client(table(), uint64_t{1} << 20);
  std::vector<std::pair<double, int64_t>> known;
  for (int step = 0; step < 300; ++step) {
    const Lane lane = random() % 3 == 0 ? kTransferLane : kComputeLane;
    const auto addend = static_cast<int64_t>(random() % 100);
    if (known.size() < 3) {
      known.emplace_back(client.constant(addend, lane), addend);
      continue;
    }
    const auto [a, a_value] = known[random() % known.size()];
    const auto [b, b_value] = known[random() % known.size()];
    known.emplace_back(client.call({kAdd, double(addend), 0, lane}, {a, b}), a_value + b_value + addend);
    const size_t gone = random() % known.size();
    if (random() % 4 == 0) HN_CHECK(client.value(known[gone].first) == known[gone].second);
    if (known.size() > 8) {
      client.release(known[gone].first);
      known.erase(known.begin() + static_cast<long>(gone));
    }
  }
  for (const auto& [handle, value] : known) HN_CHECK(client.value(handle) == value);
  HN_CHECK(fake_cuda().events < 200);
  for (const auto& [handle, value] : known) client.release(handle);
  client.close();
  check_nothing_left();
}

void out_of_memory() {
  Client client(table(), 0);
  const double one = client.constant(1);
  HN_CHECK(client.value(one) == 1);
  fake_cuda().failing_allocations = 2;  // the second: after the core has given its cache back
  const double large = client.call({.elements = 1 << 20}, {});
  const ErrorPtr error = client.wait(client.read(large)->ticket);
  HN_CHECK(error && error->code == Code::out_of_memory && says(error, "the GPU has no memory left: needs 8.0 MiB"));
  fake_cuda().failing_allocations = 1;  // once is no failure
  const double again = client.call({.elements = 1 << 20}, {});
  HN_CHECK(!client.wait(client.sync()) && client.value(one) == 1);

  fake_cuda().failing_pinned = 1;
  const std::vector<int64_t> bytes(kElements, 7);
  double refused = 0, taken = 0;
  HN_CHECK(client.device().upload(client.handles(), bytes.data(), kElements * 8, &refused) == Answer::ok);
  HN_CHECK(says(client.wait(client.read(refused)->ticket), "no page-locked memory left"));
  HN_CHECK(client.device().upload(client.handles(), bytes.data(), kElements * 8, &taken) == Answer::ok);
  HN_CHECK(client.value(taken) == 7);
  for (const double handle : {one, large, again, refused, taken}) client.release(handle);
  client.close();
  check_nothing_left();
}

/// Bad data: told by what depends on it, by name and in the CPU's words, however late it was found.
void refusals() {
  Client client(table(), 0);
  const double one = client.constant(1), good = client.call({kMayRefuse, 1}, {one});
  const double bad = client.call({kRefuse}, {one}), heir = client.call({}, {bad, one});
  const double other = client.call({.addend = 5}, {one});
  const auto late = client.read(heir);
  const ErrorPtr error = client.wait(late->ticket);
  HN_CHECK(error && error->code == Code::invalid_argument && error->op == kOpNames[kBorrowedOp]);
  HN_CHECK(says(error, "adamw_step: an index lies outside the axis that is gathered from"));
  HN_CHECK(client.value(other) == 6 && client.value(one) == 1 && client.value(good) == 2);
  HN_CHECK(!client.wait(client.sync()));  // a read has told it
  // Found by now: whoever comes later is stopped before the launch.
  HN_CHECK(client.wait_code(client.read(bad)->ticket) == Code::invalid_argument);
  const double later = client.call({}, {bad});
  HN_CHECK(client.wait_code(client.read(later)->ticket) == Code::invalid_argument);
  HN_CHECK(client.value(client.call({kMayRefuse, 3}, {one})) == 4);

  // The next one is found too, and told by a sync when no read asks, once.
  const double second = client.call({kRefuse, 0, 0, kTransferLane}, {one});
  const double changed = client.call({.addend = 2}, {one});
  client.write({kAddInPlace}, {second}, changed);
  HN_CHECK(says(client.wait(client.sync()), "an index lies outside"));
  HN_CHECK(!client.wait(client.sync()));
  HN_CHECK(client.wait_code(client.read(changed)->ticket) == Code::invalid_argument);
  HN_CHECK(client.value(client.call({kMayRefuse, 9}, {one})) == 10);
}

void lost_gpu() {
  Client client(table(), 0);
  const double one = client.constant(1);
  HN_CHECK(client.value(one) == 1);
  const double broken = client.call({kCrash}, {one});
  const auto read = client.read(broken);
  const ErrorPtr error = client.wait(read->ticket);
  HN_CHECK(error && error->code == Code::device_error && error->op == "read");
  HN_CHECK(says(error, "read: cuda:0 is lost: an illegal memory access was encountered, in one of these ops: "));
  HN_CHECK(says(error, "adamw_step") && says(error, "HUNYUAN_CUDA_SYNC=1"));
  HN_CHECK(client.wait_code(client.read(one)->ticket) == Code::device_error);
  const double after = client.call({}, {one});
  HN_CHECK(says(client.wait(client.read(after)->ticket), "cuda:0 is lost"));
  void* device = nullptr;
  HN_CHECK(table().open(0, &device).code == Code::device_error);
  // The other one works.
  HN_CHECK(table().open(1, &device).ok());
  int64_t there = 5, back = 0;
  void *memory = nullptr, *event = nullptr;
  HN_CHECK(table().alloc(device, 8, &memory).ok());
  HN_CHECK(table().upload(device, kComputeLane, memory, &there, 8).ok());
  HN_CHECK(table().download(device, kComputeLane, &back, memory, 8).ok());
  HN_CHECK(table().event_record(device, kComputeLane, &event).ok() && table().event_wait(device, event).ok());
  HN_CHECK(back == 5);
  table().event_free(device, event);
  table().free(device, memory, 8);
  table().close(device);
  client.close();
  HN_CHECK(fake_cuda().events == 0 && fake_cuda().streams == 0 && fake_cuda().pinned == 0);
  fake_cuda().allocated = 0;  // went with the GPU
  mend_gpus();
}

/// HUNYUAN_CUDA_SYNC=1: the launch itself answers.
void step_by_step() {
  setenv("HUNYUAN_CUDA_SYNC", "1", 1);
  {
    Client client(table(), 0);
    const double one = client.constant(1), bad = client.call({kRefuse}, {one});
    const ErrorPtr error = client.wait(client.read(bad)->ticket);
    HN_CHECK(says(error, "adamw_step: an index lies outside") && says(error, "; tensors [33] i64"));
    HN_CHECK(client.value(one) == 1);
    const double broken = client.call({kCrash}, {one});
    const ErrorPtr lost = client.wait(client.read(broken)->ticket);
    HN_CHECK(lost && lost->code == Code::device_error && lost->op == kOpNames[kBorrowedOp]);
    client.close();
  }
  unsetenv("HUNYUAN_CUDA_SYNC");
  fake_cuda().allocated = 0;
  mend_gpus();
}

}  // namespace
}  // namespace hn::test

int main() {
  using namespace hn::test;
  reasons();
  description();
  copies();
  for (unsigned seed = 0; seed < 4; ++seed) lanes(seed);
  out_of_memory();
  refusals();
  lost_gpu();
  step_by_step();
  std::puts("the CUDA backend on the fake runtime: all well");
}
