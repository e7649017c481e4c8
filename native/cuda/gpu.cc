#include "cuda/gpu.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "core/error.h"
#include "cuda/driver.h"
#include "cuda/errors.h"
#include "cuda/table.h"

namespace hn::cuda {
namespace {

/// What CUDA itself may take later: stacks of kernels, code that is loaded at its first launch.
constexpr uint64_t kLeastReserve = uint64_t{512} << 20;

template <size_t kSize>
void write(char (&out)[kSize], const std::string& text) {
  std::snprintf(out, kSize, "%s", text.c_str());
}

}  // namespace

// --- opening and closing --------------------------------------------------------------------------------------------

Gpu::Gpu(int32_t index) : index_(index) {}

Status Gpu::open(int32_t index, Gpu** out) {
  const char* reason = "";
  const int32_t count = count_devices(&reason);
  if (count == 0) return {Code::device_error, reason};
  if (index < 0 || index >= count) {
    const std::string last = count == 1 ? "" : " to cuda:" + std::to_string(count - 1);
    return Status::invalid(kept("there is no such GPU; this machine shows cuda:0" + last));
  }
  std::unique_ptr<Gpu> gpu(new Gpu(index));
  HN_RETURN_IF_ERROR(gpu->start());
  *out = gpu.release();
  return {};
}

Status Gpu::start() {
  HN_RETURN_IF_ERROR(check(cudaSetDevice(index_)));
  cudaDeviceProp device{};
  HN_RETURN_IF_ERROR(check(cudaGetDeviceProperties(&device, index_)));
  properties_ = {device.multiProcessorCount, static_cast<int>(device.sharedMemPerBlockOptin),
                 10 * device.major + device.minor};
  if (properties_.compute_capability < kLeastCapability) {
    return Status::missing(kept(std::string(device.name) + " has compute capability " +
                                show_capability(properties_.compute_capability) + "; there are kernels from " +
                                show_capability(kLeastCapability) + " on"));
  }
  for (cudaStream_t& stream : streams_) {
    HN_RETURN_IF_ERROR(check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking)));
  }
  void *words = nullptr, *on_device = nullptr;
  HN_RETURN_IF_ERROR(
      check_staging(cudaHostAlloc(&words, kLaneCount * sizeof *faults_, cudaHostAllocMapped | cudaHostAllocPortable)));
  std::memset(words, 0, kLaneCount * sizeof *faults_);
  faults_ = static_cast<unsigned long long*>(words);
  HN_RETURN_IF_ERROR(check(cudaHostGetDevicePointer(&on_device, words, 0)));
  faults_on_device_ = static_cast<unsigned long long*>(on_device);
  const char* sync = std::getenv("HUNYUAN_CUDA_SYNC");
  step_by_step_ = sync != nullptr && std::strcmp(sync, "1") == 0;
  size_t free_bytes = 0, total_bytes = 0;
  HN_RETURN_IF_ERROR(check(cudaMemGetInfo(&free_bytes, &total_bytes)));
  describe(device, free_bytes);
  return {};
}

void Gpu::describe(const cudaDeviceProp& device, size_t free_bytes) {
  const uint64_t reserve = std::max<uint64_t>(device.totalGlobalMem / 50, kLeastReserve);
  write(info_.name, device.name);
  write(info_.detail, "compute capability " + show_capability(properties_.compute_capability) + ", " +
                          std::to_string(properties_.sm_count) + " multiprocessors");
  write(info_.driver, describe_driver());
  info_.compute_capability = properties_.compute_capability;
  info_.memory_bytes = device.totalGlobalMem;
  info_.free_bytes = free_bytes;
  info_.default_limit_bytes = free_bytes > 2 * reserve ? free_bytes - reserve : free_bytes / 2;
  write(info_.limit_reason, format_bytes(free_bytes) + " were free when it was opened, and " +
                                format_bytes(free_bytes - info_.default_limit_bytes) + " of them stay for CUDA itself");
}

Gpu::~Gpu() {
  // All of it may fail on a lost device, where nothing is left to be done about it.
  (void)cudaSetDevice(index_);
  for (cudaStream_t stream : streams_) {
    if (stream != nullptr) (void)cudaStreamSynchronize(stream);
  }
  for (Staging& ring : up_) ring.free_slots();
  for (Staging& ring : down_) ring.free_slots();
  for (Event* event : idle_events_) {
    (void)cudaEventDestroy(event->handle);
    delete event;
  }
  for (cudaStream_t stream : streams_) {
    if (stream != nullptr) (void)cudaStreamDestroy(stream);
  }
  if (faults_ != nullptr) (void)cudaFreeHost(faults_);
  (void)cudaGetLastError();
}

// --- errors ---------------------------------------------------------------------------------------------------------

Status Gpu::enter() {
  if (const char* why = why_lost_.load(std::memory_order_acquire)) return {Code::device_error, why};
  return check(cudaSetDevice(index_));
}

Status Gpu::check(cudaError_t error) {
  if (error == cudaSuccess) return {};
  (void)cudaGetLastError();  // told by our answer: the thread's next call must not find it
  if (error == cudaErrorMemoryAllocation) return {Code::out_of_memory, "the GPU has no memory left"};
  const cudaError_t again = cudaStreamQuery(streams_[kComputeLane]);
  (void)cudaGetLastError();
  if (again != cudaSuccess && again != cudaErrorNotReady) return lose(again);
  return {Code::device_error, cudaGetErrorString(error)};
}

Status Gpu::check_staging(cudaError_t error) {
  if (error != cudaErrorMemoryAllocation) return check(error);
  (void)cudaGetLastError();
  return {Code::out_of_memory, "the host has no page-locked memory left for copies to and from the GPU"};
}

Status Gpu::lose(cudaError_t error) {
  platform::Lock lock(lost_mutex_);
  if (!lost_) {
    std::string at;
    for (const Trail& trail : trails_) trail.name(&at);
    std::string text = "cuda:" + std::to_string(index_) + " is lost: " + cudaGetErrorString(error);
    if (!at.empty()) text += ", in one of these ops: " + at.substr(2) + " (HUNYUAN_CUDA_SYNC=1 tells in which)";
    text += "; this GPU can be used again in a new process, other devices in this one";
    lost_ = true;
    why_lost_.store(kept(text), std::memory_order_release);
  }
  return {Code::device_error, why_lost_.load(std::memory_order_acquire)};
}

// --- memory ---------------------------------------------------------------------------------------------------------

Status Gpu::alloc(size_t bytes, void** out) {
  HN_RETURN_IF_ERROR(enter());
  return check(cudaMalloc(out, bytes));
}

void Gpu::free(void* data) {
  // Memory of a lost device went with it. Any other failure is an earlier kernel's, which the next wait tells.
  if (enter().ok()) (void)check(cudaFree(data)).ok();
}

Status Gpu::upload(Lane lane, void* dst, const void* src, size_t bytes) {
  HN_RETURN_IF_ERROR(enter());
  char* room = nullptr;
  for (size_t done = 0, part = 0; done < bytes; done += part) {
    HN_RETURN_IF_ERROR(check_staging(up_[lane].take(bytes - done, &room, &part)));
    std::memcpy(room, static_cast<const char*>(src) + done, part);
    char* const to = static_cast<char*>(dst) + done;
    HN_RETURN_IF_ERROR(check(cudaMemcpyAsync(to, room, part, cudaMemcpyHostToDevice, streams_[lane])));
    HN_RETURN_IF_ERROR(check(up_[lane].mark(streams_[lane])));
  }
  return {};
}

Status Gpu::download(Lane lane, void* dst, const void* src, size_t bytes) {
  HN_RETURN_IF_ERROR(enter());
  char* room = nullptr;
  for (size_t done = 0, part = 0; done < bytes; done += part) {
    HN_RETURN_IF_ERROR(check_staging(down_[lane].take(bytes - done, &room, &part)));
    const char* const from = static_cast<const char*>(src) + done;
    HN_RETURN_IF_ERROR(check(cudaMemcpyAsync(room, from, part, cudaMemcpyDeviceToHost, streams_[lane])));
    HostCopy* const copy = down_[lane].keep({&lost_mutex_, &lost_, static_cast<char*>(dst) + done, room, part});
    HN_RETURN_IF_ERROR(check(cudaLaunchHostFunc(streams_[lane], &HostCopy::run, copy)));
    HN_RETURN_IF_ERROR(check(down_[lane].mark(streams_[lane])));
  }
  return {};
}

// --- launches -------------------------------------------------------------------------------------------------------

Status Gpu::launch(Lane lane, const LaunchHost& host, const OpCall& call) {
  HN_RETURN_IF_ERROR(enter());
  trails_[lane].launched(call.op);
  const FaultWord fault(faults_on_device_ + lane, host.order, call.op);
  const Status status = cuda::launch(Context(streams_[lane], host, properties_, fault), call);
  if (!status.ok()) {
    // The launcher's words are CUDA's where CUDA refused; its code tells whether the device is at fault.
    const cudaError_t error = cudaGetLastError();
    return status.code == Code::device_error && error != cudaSuccess ? check(error) : status;
  }
  if (!step_by_step_) return {};
  const uint64_t launches = trails_[lane].count();
  trails_[lane].passed(launches - 1);
  HN_RETURN_IF_ERROR(check(cudaStreamSynchronize(streams_[lane])));
  trails_[lane].passed(launches);
  DataFault found;
  return take_fault_of(lane, &found) ? found.status : Status{};
}

bool Gpu::take_fault(DataFault* out) { return take_fault_of(kComputeLane, out) || take_fault_of(kTransferLane, out); }

bool Gpu::take_fault_of(Lane lane, DataFault* out) {
  platform::Lock lock(faults_mutex_);
  const uint64_t word = __atomic_load_n(&faults_[lane], __ATOMIC_ACQUIRE);
  if (word == 0 || word == told_[lane]) return false;
  told_[lane] = word;
  // Emptied in the lane's order: the core takes all that was issued until then for spoiled.
  if (enter().ok()) {
    (void)check(cudaMemsetAsync(faults_on_device_ + lane, 0, sizeof *faults_, streams_[lane])).ok();
  }
  *out = fault_of(word);
  return true;
}

// --- events ---------------------------------------------------------------------------------------------------------

Status Gpu::new_event(Event** out) {
  {
    platform::Lock lock(events_mutex_);
    if (!idle_events_.empty()) {
      *out = idle_events_.back();
      idle_events_.pop_back();
      return {};
    }
  }
  auto event = std::make_unique<Event>();
  // The waiting thread sleeps: it may wait for seconds, beside threads that compute.
  const unsigned flags = cudaEventDisableTiming | cudaEventBlockingSync;
  HN_RETURN_IF_ERROR(check(cudaEventCreateWithFlags(&event->handle, flags)));
  *out = event.release();
  return {};
}

Status Gpu::event_record(Lane lane, void** event) {
  *event = nullptr;
  HN_RETURN_IF_ERROR(enter());
  Event* made = nullptr;
  HN_RETURN_IF_ERROR(new_event(&made));
  made->lane = lane;
  made->launches = trails_[lane].count();
  const Status status = check(cudaEventRecord(made->handle, streams_[lane]));
  if (status.ok()) {
    *event = made;
  } else {
    event_free(made);
  }
  return status;
}

Status Gpu::event_wait(void* event) {
  const auto* waited = static_cast<const Event*>(event);
  HN_RETURN_IF_ERROR(enter());
  HN_RETURN_IF_ERROR(check(cudaEventSynchronize(waited->handle)));
  trails_[waited->lane].passed(waited->launches);
  return {};
}

Status Gpu::lane_wait(Lane lane, void* event) {
  HN_RETURN_IF_ERROR(enter());
  return check(cudaStreamWaitEvent(streams_[lane], static_cast<Event*>(event)->handle, 0));
}

// A stream that was made to wait for an event waits for what it stood for then: it may be recorded again at once.
void Gpu::event_free(void* event) {
  platform::Lock lock(events_mutex_);
  idle_events_.push_back(static_cast<Event*>(event));
}

}  // namespace hn::cuda
