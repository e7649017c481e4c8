#include "cpu/backend.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "core/generated/ops.h"
#include "core/platform/memory.h"
#include "core/platform/threads.h"

namespace hn::cpu {
namespace {

constexpr size_t kMapFrom = size_t{1} << 20;  // whole pages, so that a trimmed block really goes back to the system

bool always() { return true; }

#if defined(HN_HAS_AVX2)
bool has_avx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
}
#endif
#if defined(HN_HAS_AVX512)
bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}
#endif

constexpr Isa kIsas[] = {
#if defined(HN_HAS_AVX512)
    {"avx512", avx512::kKernels, has_avx512},
#endif
#if defined(HN_HAS_AVX2)
    {"avx2", avx2::kKernels, has_avx2},
#endif
    {"portable", portable::kKernels, always},
};

struct Choice {
  const Isa* isa = nullptr;
  Status status;
};

Choice choose_isa() {
  const char* wanted = std::getenv("HUNYUAN_CPU_ISA");
  if (wanted && *wanted == 0) wanted = nullptr;
  for (const Isa& isa : kIsas) {
    if (!wanted && isa.present()) return {&isa, {}};
    if (!wanted || std::strcmp(wanted, isa.name) != 0) continue;
    if (isa.present()) return {&isa, {}};
    return {nullptr, Status::invalid("HUNYUAN_CPU_ISA names an instruction set that this processor lacks; unset it")};
  }
  return {nullptr, Status::invalid("HUNYUAN_CPU_ISA must be avx512, avx2 or portable; unset it to get the best")};
}

/// Chosen once a process.
const Choice& choice() {
  static const Choice chosen = choose_isa();
  return chosen;
}

int32_t device_count(const char** reason) {
  *reason = choice().status.message;
  return choice().status.ok() ? 1 : 0;
}

Status open(int32_t index, void** device) {
  static char the_device;  // all state is the process's: the thread pool and the chosen instruction set
  HN_RETURN_IF_ERROR(choice().status);
  if (index != 0) return Status::invalid("there is only one CPU device, cpu:0");
  *device = &the_device;
  return {};
}

void close(void*) {}

/// The processor's own name, "Intel(R) Xeon(R) ..." on x86.
void processor_name(char* out, size_t size) {
  std::snprintf(out, size, "CPU");
#if defined(__x86_64__)
  unsigned words[12] = {};
  for (unsigned i = 0; i < 3; ++i) {
    unsigned* w = words + 4 * i;
    if (!__get_cpuid(0x80000002u + i, &w[0], &w[1], &w[2], &w[3])) return;
  }
  char text[sizeof words + 1] = {};
  std::memcpy(text, words, sizeof words);
  const char* start = text + std::strspn(text, " ");
  if (*start) std::snprintf(out, size, "%s", start);
#endif
}

void describe(void*, DeviceInfo* out) {
  processor_name(out->name, sizeof out->name);
  const int threads = ThreadPool::shared().threads();
  std::snprintf(out->detail, sizeof out->detail, "%s, %d thread%s", choice().isa->name, threads,
                threads == 1 ? "" : "s");
  out->memory_bytes = platform::memory_limit_bytes();
  out->default_limit_bytes = out->memory_bytes / 5 * 4;
  std::snprintf(out->limit_reason, sizeof out->limit_reason, "80 %% of what the machine or its container has");
}

Status alloc(void*, size_t bytes, void** out) {
  *out = bytes >= kMapFrom ? platform::map_pages(bytes) : platform::aligned_alloc(bytes);
  if (*out) return {};
  return {Code::out_of_memory, "the system has no memory left"};
}

void free(void*, void* data, size_t bytes) {
  if (bytes >= kMapFrom) {
    platform::unmap_pages(data, bytes);
  } else {
    platform::aligned_free(data);
  }
}

Status copy(void*, Lane, void* dst, const void* src, size_t bytes) {
  if (bytes > 0) std::memcpy(dst, src, bytes);
  return {};
}

Status launch(void*, Lane, const LaunchHost* host, const OpCall* call) {
  // Parts of kernels run on this thread: it must treat subnormals as the pool's threads do.
  thread_local const bool flushed = (platform::flush_denormals_on_this_thread(), true);
  (void)flushed;
  const KernelFn kernel = choice().isa->kernels[call->op];
  if (!kernel) return Status::missing("the CPU backend has no kernel for this op");
  Context context(ThreadPool::shared(), *host);
  return kernel(context, *call);
}

/// The reference is complete: every declared op, at every type its declaration allows.
bool supports(uint32_t op, DType) { return op < kOpCount; }

// Every call is done when it returns: the present end of a lane is always reached.
Status event_record(void*, Lane, void** event) {
  *event = nullptr;
  return {};
}
Status event_wait(void*, void*) { return {}; }
Status lane_wait(void*, Lane, void*) { return {}; }
void event_free(void*, void*) {}
// A kernel refuses its data in the launch's answer.
bool take_fault(void*, DataFault*) { return false; }

constexpr BackendTable kTable = {kBackendVersion,
                                 sizeof(BackendTable),
                                 kOpsHash,
                                 "cpu",
                                 device_count,
                                 open,
                                 close,
                                 describe,
                                 alloc,
                                 free,
                                 copy,
                                 copy,
                                 launch,
                                 supports,
                                 event_record,
                                 event_wait,
                                 lane_wait,
                                 event_free,
                                 take_fault,
                                 /*host_memory=*/true};

}  // namespace

std::span<const Isa> isas() { return kIsas; }

}  // namespace hn::cpu

namespace hn {

const BackendTable* cpu_backend_table() { return &cpu::kTable; }

}  // namespace hn
