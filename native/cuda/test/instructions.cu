// Every wrapper of native/cuda/device/ptx*.cuh, and CUDA's own words that kernels use, on fixed inputs:
//
//   instructions FILE     compares each result with plain C++, writes all of them to FILE
//
// Built twice (CMakeLists.txt): by nvcc for the GPU, and against native/simt for the CPU. That the emulator says what a
// GPU says is seen by bench/gpu/compare-instructions.mjs from the two files. Ends with 1 when a result is wrong.
#include "cuda/test/conversions.cuh"
#include "cuda/test/copies.cuh"
#include "cuda/test/functions.cuh"
#include "cuda/test/suite.h"
#include "cuda/test/tensor_core.cuh"
#include "cuda/test/warps.cuh"

namespace hn::cuda::test {
namespace {

struct Group {
  const char* name;
  void (*run)(Suite& suite);
  /// Code for Hopper runs on no other device, older or newer.
  bool hopper;
};

constexpr Group kGroupsOfTests[] = {
    {"conversions", test_conversions, false}, {"functions", test_functions, false},      {"warps", test_warps, false},
    {"copies", test_copies, false},           {"tensor cores", test_tensor_core, false}, {"Hopper", test_sm90, true}};

void* no_workspace(void*, size_t) { return nullptr; }
void no_check(void*) {}

#if defined(HN_SIMT)
DeviceProperties open_device() {
  std::printf("device: the emulator\n");
  return {.sm_count = 3, .max_shared_bytes = 232'448, .compute_capability = 90};
}
#else
DeviceProperties open_device() {
  cudaDeviceProp device;
  must(cudaGetDeviceProperties(&device, 0), "no GPU");
  std::printf("device: %s, compute capability %d.%d\n", device.name, device.major, device.minor);
  return {device.multiProcessorCount, static_cast<int>(device.sharedMemPerBlockOptin),
          10 * device.major + device.minor};
}
#endif

int run(const char* path) {
  const DeviceProperties device = open_device();
  std::FILE* file = std::fopen(path, "wb");
  if (file == nullptr) {
    std::fprintf(stderr, "%s cannot be written\n", path);
    return 2;
  }
  const LaunchHost host{.self = nullptr, .workspace = no_workspace, .order = 0, .checks_data = no_check};
  const Context ctx(nullptr, host, device, FaultWord());
  Suite suite(ctx, file);
  for (const Group& group : kGroupsOfTests) {
    if (group.hopper && device.compute_capability != 90) {
      std::printf("%s: left out, needs compute capability 9.0\n", group.name);
      continue;
    }
    const int results = suite.results, failures = suite.failures;
    group.run(suite);
    std::printf("%s: %d results, %d wrong\n", group.name, suite.results - results, suite.failures - failures);
    std::fflush(stdout);
  }
  if (std::fclose(file) != 0) {
    std::fprintf(stderr, "%s could not be written to its end\n", path);
    return 2;
  }
  return suite.failures > 0 ? 1 : 0;
}

}  // namespace
}  // namespace hn::cuda::test

int main(int count, char** args) {
  if (count == 2) return hn::cuda::test::run(args[1]);
  std::fprintf(stderr, "usage: instructions FILE\n");
  return 2;
}
