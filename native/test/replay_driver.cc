// Every recorded op call, made again with the kernels of each instruction set that this processor has.

#include <array>

#include "core/generated/ops.h"
#include "core/platform/threads.h"
#include "test/replay.h"
#include "test/suite.h"

namespace hn::test {
namespace {

/// How many ops no call was recorded of.
int uncovered(const CaseFile& file) {
  std::array<bool, kOpCount> seen{};
  for (const Case& c : file.cases) seen[c.op] = true;
  int missing = 0;
  for (uint32_t op = 0; op < kOpCount; ++op) {
    if (seen[op]) continue;
    std::printf("FAIL  no call of %s was recorded\n", kOpNames[op]);
    ++missing;
  }
  return missing;
}

/// How many calls went wrong, each told in a line or two.
int replay_all(const CaseFile& file, const cpu::Isa& isa) {
  const int64_t start = platform::monotonic_ns();
  int failed = 0;
  for (const Case& c : file.cases) {
    const std::string problem = replay(c, isa.kernels, cpu::ThreadPool::shared());
    if (problem.empty()) continue;
    ++failed;
    std::printf("FAIL  %s: %s\n      %s\n", isa.name, problem.c_str(), c.describe().c_str());
  }
  const double seconds = static_cast<double>(platform::monotonic_ns() - start) * 1e-9;
  std::printf("      %s: %zu calls replayed, %d failed, %.1f s\n", isa.name, file.cases.size(), failed, seconds);
  std::fflush(stdout);
  return failed;
}

void run() {
  if (!cases_path()) return (void)std::printf("      no --cases, nothing replayed\n");
  const CaseFile& file = recorded_cases();
  int failures = uncovered(file);
  if (failures == 0) std::printf("      all %u ops were recorded\n", kOpCount);
  if (!file.complete) std::printf("      the recording ended early: its file was full\n");
  for (const cpu::Isa& isa : cpu::isas()) {
    if (isa.present()) {
      failures += replay_all(file, isa);
    } else {
      std::printf("      %s: not on this processor\n", isa.name);
    }
  }
  HN_CHECK(failures == 0);
}

const Suite suite("replay", run, "address");

}  // namespace
}  // namespace hn::test
