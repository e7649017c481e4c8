// Recorded op calls, made again with each instruction set that this processor has. Each call comes in a kind: the op,
// the types and the layouts of its tensors. Of each kind a few calls are run, chosen so that all attributes and as many
// shapes as possible come up; a later version of the file with the same calls gives the same choice.

#include <map>
#include <set>

#include "core/generated/ops.h"
#include "core/platform/threads.h"
#include "test/replay.h"
#include "test/suite.h"

namespace hn::test {
namespace {

constexpr size_t kMostOfOneKind = 12;

std::string kind_of(const Case& c) {
  std::string kind = std::to_string(c.op);
  for (const int32_t count : c.arg_counts) kind += count == 0 ? '-' : count == 1 ? '1' : 'n';
  for (const RecordedUse& use : c.tensors) {
    bool repeats = false;
    for (int i = 0; i < use.view.rank; ++i) repeats |= use.view.strides[i] == 0 && use.view.shape[i] > 1;
    const char layout = use.view.elements() == 0 ? 'e' : use.view.is_dense() ? 'd' : repeats ? 'r' : 's';
    kind += ' ' + std::to_string(static_cast<int>(use.view.dtype)) + layout + (use.misalignment % 16 == 0 ? 'a' : 'm');
  }
  return kind;
}

std::string shapes_of(const Case& c) {
  std::string shapes;
  for (const RecordedUse& use : c.tensors) {
    for (int i = 0; i < use.view.rank; ++i) {
      shapes += ' ' + std::to_string(use.view.shape[i]) + '/' + std::to_string(use.view.strides[i]);
    }
    shapes += ',';
  }
  return shapes;
}

/// At most kMostOfOneKind of these calls: first those with attributes that came up in none before, then those with new
/// shapes.
std::vector<const Case*> choose(const std::vector<const Case*>& kind) {
  std::set<std::vector<double>> attrs;
  std::set<std::string> shapes;
  std::vector<const Case*> chosen, rest;
  for (const Case* c : kind) {
    const bool is_new = attrs.insert(c->attrs).second && chosen.size() < kMostOfOneKind;
    (is_new ? chosen : rest).push_back(c);
    if (is_new) shapes.insert(shapes_of(*c));
  }
  for (const Case* c : rest) {
    if (chosen.size() < kMostOfOneKind && shapes.insert(shapes_of(*c)).second) chosen.push_back(c);
  }
  return chosen;
}

std::vector<const Case*> choose_all(const CaseFile& file) {
  std::map<std::string, std::vector<const Case*>> kinds;
  for (const Case& c : file.cases) kinds[kind_of(c)].push_back(&c);
  std::vector<const Case*> chosen;
  for (const auto& [name, kind] : kinds) {
    for (const Case* c : choose(kind)) chosen.push_back(c);
  }
  return chosen;
}

/// How many ops no call was recorded of.
int uncovered(const CaseFile& file) {
  std::set<uint32_t> seen;
  for (const Case& c : file.cases) seen.insert(c.op);
  int missing = 0;
  for (uint32_t op = 0; op < kOpCount; ++op) {
    if (seen.contains(op)) continue;
    std::printf("FAIL  no call of %s was recorded\n", kOpNames[op]);
    ++missing;
  }
  return missing;
}

void run() {
  if (!cases_path()) return (void)std::printf("      no --cases, nothing replayed\n");
  const CaseFile& file = recorded_cases();
  const std::vector<const Case*> chosen = choose_all(file);
  int failures = uncovered(file);
  for (const cpu::Isa& isa : cpu::isas()) {
    if (!isa.present()) {
      std::printf("      %s: not on this processor\n", isa.name);
      continue;
    }
    const int64_t start = platform::monotonic_ns();
    int failed = 0;
    for (const Case* c : chosen) {
      const std::string problem = replay(*c, isa.kernels, cpu::ThreadPool::shared());
      if (problem.empty()) continue;
      ++failed;
      std::printf("FAIL  %s: %s\n      %s\n", isa.name, problem.c_str(), c->describe().c_str());
      std::fflush(stdout);
    }
    std::printf("      %s: %zu of %zu recorded calls replayed, %d failed, %.1f s\n", isa.name, chosen.size(),
                file.cases.size(), failed, static_cast<double>(platform::monotonic_ns() - start) * 1e-9);
    std::fflush(stdout);
    failures += failed;
  }
  if (!file.complete) std::printf("      the recording ended early: its file was full\n");
  if (failures == 0) std::printf("      all %u ops covered\n", kOpCount);
  HN_CHECK(failures == 0);
}

const Suite suite("replay", run, "address");

}  // namespace
}  // namespace hn::test
