#include "test/cuda/fake_runtime.h"

#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <utility>

#include "test/suite.h"

/// A place in a stream. An event stands for the place where it was recorded last; who waits keeps the place it saw.
struct Mark {
  cudaStream_t stream;
  bool reached = false;
};
using MarkPtr = std::shared_ptr<Mark>;

struct CUevent_st {
  MarkPtr mark;
};

struct CUstream_st {
  int gpu = 0;
  struct Work {
    std::function<void()> run;
    MarkPtr waits_for;
  };
  std::deque<Work> work;
};

namespace hn::test {
namespace {

std::recursive_mutex mutex;
using Lock = std::lock_guard<std::recursive_mutex>;
cudaError_t broken[kFakeGpus] = {};
thread_local int current = -1;
thread_local cudaError_t last_error = cudaSuccess;

cudaError_t answer(cudaError_t error) {
  if (error != cudaSuccess) last_error = error;
  return error;
}

cudaError_t health() {
  HN_CHECK(current >= 0);
  Lock lock(mutex);
  return answer(broken[current]);
}

/// Works until `done` says so, or nothing is left.
void work_until(cudaStream_t stream, const std::function<bool()>& done) {
  while (!done() && !stream->work.empty() && broken[stream->gpu] == cudaSuccess) {
    CUstream_st::Work next = std::move(stream->work.front());
    stream->work.pop_front();
    if (const MarkPtr mark = next.waits_for) {
      work_until(mark->stream, [&] { return mark->reached; });
    } else {
      next.run();
    }
  }
}

cudaError_t add(cudaStream_t stream, CUstream_st::Work work) {
  if (const cudaError_t error = health(); error != cudaSuccess) return error;
  HN_CHECK(stream->gpu == current);
  Lock lock(mutex);
  stream->work.push_back(std::move(work));
  return cudaSuccess;
}

/// Takes one of the failures that were asked for.
bool fails(std::atomic<int>& left) { return left > 0 && left-- > 0; }

struct Header {
  size_t bytes;
  char padding[256 - sizeof(size_t)];
};

void* allocate(size_t bytes, std::atomic<int64_t>& counter) {
  auto* header = static_cast<Header*>(std::aligned_alloc(256, sizeof(Header) + (bytes + 255) / 256 * 256));
  header->bytes = bytes;
  counter += static_cast<int64_t>(bytes);
  return header + 1;
}

void release(void* memory, std::atomic<int64_t>& counter) {
  Header* const header = static_cast<Header*>(memory) - 1;
  counter -= static_cast<int64_t>(header->bytes);
  std::memset(memory, 0xdd, header->bytes);
  std::free(header);
}

std::deque<cudaStream_t>& all_streams() {
  static std::deque<cudaStream_t> streams;
  return streams;
}

}  // namespace

FakeCuda& fake_cuda() {
  static FakeCuda fake;
  return fake;
}

void enqueue(cudaStream_t stream, std::function<void()> work) {
  HN_CHECK(add(stream, {std::move(work), {}}) == cudaSuccess);
}

void break_gpu(cudaStream_t stream, cudaError_t how) { broken[stream->gpu] = how; }

void mend_gpus() {
  for (cudaError_t& error : broken) error = cudaSuccess;
}

}  // namespace hn::test

using namespace hn::test;

extern "C" {

cudaError_t cudaDriverGetVersion(int* version) {
  *version = fake_cuda().driver_version;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int* count) {
  *count = fake_cuda().count_error == cudaSuccess ? kFakeGpus : 0;
  return answer(fake_cuda().count_error);
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr which, int) {
  const int capability = fake_cuda().compute_capability;
  *value = which == cudaDevAttrComputeCapabilityMajor ? capability / 10 : capability % 10;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* out, int) {
  *out = {};
  std::strcpy(out->name, "Fake GPU");
  out->major = fake_cuda().compute_capability / 10;
  out->minor = fake_cuda().compute_capability % 10;
  out->multiProcessorCount = 4;
  out->sharedMemPerBlockOptin = 232'448;
  out->totalGlobalMem = fake_cuda().memory_bytes;
  return health();
}

cudaError_t cudaSetDevice(int device) {
  current = device;
  return cudaSuccess;
}

cudaError_t cudaGetLastError() { return std::exchange(last_error, cudaSuccess); }

const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaErrorIllegalAddress ? "an illegal memory access was encountered" : "some error";
}

cudaError_t cudaMemGetInfo(size_t* free_bytes, size_t* total) {
  *total = fake_cuda().memory_bytes;
  *free_bytes = *total - static_cast<size_t>(fake_cuda().allocated.load());
  return health();
}

cudaError_t cudaMalloc(void** out, size_t bytes) {
  if (const cudaError_t error = health(); error != cudaSuccess) return error;
  if (fails(fake_cuda().failing_allocations)) return answer(cudaErrorMemoryAllocation);
  *out = allocate(bytes, fake_cuda().allocated);
  return cudaSuccess;
}

cudaError_t cudaFree(void* memory) {
  {
    Lock lock(mutex);
    for (const cudaStream_t stream : all_streams()) {
      if (stream->gpu == current) work_until(stream, [] { return false; });
    }
  }
  if (const cudaError_t error = health(); error != cudaSuccess) return error;
  release(memory, fake_cuda().allocated);
  return cudaSuccess;
}

cudaError_t cudaHostAlloc(void** out, size_t bytes, unsigned) {
  if (const cudaError_t error = health(); error != cudaSuccess) return error;
  if (fails(fake_cuda().failing_pinned)) return answer(cudaErrorMemoryAllocation);
  *out = allocate(bytes, fake_cuda().pinned);
  return cudaSuccess;
}

cudaError_t cudaFreeHost(void* memory) {
  release(memory, fake_cuda().pinned);
  return cudaSuccess;
}

cudaError_t cudaHostGetDevicePointer(void** out, void* memory, unsigned) {
  *out = memory;
  return health();
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* out, unsigned) {
  if (const cudaError_t error = health(); error != cudaSuccess) return error;
  Lock lock(mutex);
  *out = new CUstream_st{current, {}};
  all_streams().push_back(*out);
  ++fake_cuda().streams;
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  Lock lock(mutex);
  std::erase(all_streams(), stream);
  delete stream;
  --fake_cuda().streams;
  return cudaSuccess;
}

cudaError_t cudaStreamQuery(cudaStream_t stream) {
  if (const cudaError_t error = health(); error != cudaSuccess) return error;
  Lock lock(mutex);
  return answer(stream == nullptr || stream->work.empty() ? cudaSuccess : cudaErrorNotReady);
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  Lock lock(mutex);
  work_until(stream, [] { return false; });
  return health();
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* out, unsigned) {
  if (const cudaError_t error = health(); error != cudaSuccess) return error;
  *out = new CUevent_st;
  ++fake_cuda().events;
  return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  --fake_cuda().events;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  Lock lock(mutex);
  const auto mark = std::make_shared<Mark>(Mark{stream});
  const cudaError_t error = add(stream, {[=] { mark->reached = true; }, {}});
  if (error == cudaSuccess) event->mark = mark;
  return error;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  Lock lock(mutex);
  if (const MarkPtr mark = event->mark) work_until(mark->stream, [&] { return mark->reached; });
  return health();
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  Lock lock(mutex);
  return event->mark == nullptr ? cudaSuccess : add(stream, {{}, event->mark});
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t stream) {
  return add(stream, {[=] { std::memcpy(to, from, bytes); }, {}});
}

cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream) {
  return add(stream, {[=] { std::memset(to, value, bytes); }, {}});
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t fn, void* data) {
  return add(stream, {[=] { fn(data); }, {}});
}

}  // extern "C"
