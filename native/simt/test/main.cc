// simt_test <kernel> <bug> <seeds>: runs one small kernel with one planted bug (0: none) under that many schedules. The
// last line of the output says what came of it; a sanitizer speaks for itself on stderr.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "simt/test/suite.h"

namespace hn::simt::test {
namespace {

struct Kernel {
  const char* name;
  Outcome (*run)(const cuda::Context& ctx, int bug);
};

constexpr Kernel kKernels[] = {
    {"rows", rows},        {"tile", tile}, {"causal", causal}, {"pipeline", pipeline}, {"tensor_maps", tensor_maps},
    {"products", products}};

void* no_workspace(void*, size_t) { return nullptr; }

int run(const Kernel& kernel, int bug, int seeds) {
  const LaunchHost host{nullptr, no_workspace, 1, [](void*) {}};
  const cuda::DeviceProperties device{.sm_count = 3, .max_shared_bytes = 232'448, .compute_capability = 90};
  const cuda::Context ctx(nullptr, host, device, {});
  for (int seed = 0; seed < seeds; ++seed) {
    char text[16];
    std::snprintf(text, sizeof text, "%d", seed);
    setenv("HUNYUAN_SIMT_SEED", text, 1);
    const Outcome outcome = kernel.run(ctx, bug);
    if (!outcome.status.ok()) {
      std::printf("error, seed %d: %s\n", seed, outcome.status.message);
      return 1;
    }
    if (!outcome.equal) {
      std::printf("value, seed %d: the result is wrong\n", seed);
      return 1;
    }
  }
  std::printf("right under %d seeds\n", seeds);
  return 0;
}

}  // namespace
}  // namespace hn::simt::test

int main(int count, char** args) {
  using namespace hn::simt::test;
  if (count == 4) {
    for (const Kernel& kernel : kKernels) {
      if (std::strcmp(kernel.name, args[1]) == 0) return run(kernel, std::atoi(args[2]), std::atoi(args[3]));
    }
  }
  std::fprintf(stderr, "usage: simt_test <kernel> <bug> <seeds>\n");
  return 2;
}
