// simt_replay <file> [--seeds N] [--time FILE] [--times FILE] [--most SECONDS]: makes every op call of a file that
// core/recorder.h wrote again with the library's CUDA kernels, under N schedules (default 1).
//
//   --time FILE     writes there how long each call took under its first schedule: number, seconds of processor time
//   --times FILE    such a file, of an earlier run
//   --most SECONDS  leaves out calls that took longer there; without --times, schedules after a first one that did
//
// What each schedule writes must be the same bytes, and what the first one writes must agree with what the CPU's
// kernels wrote when the call was recorded. Inputs must stay as they are. A sanitizer's complaints count for the call
// during which they come. "@ N op" is printed before call N, so that whoever reads knows where a crash was; the last
// line begins with "done".
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/generated/ops.h"
#include "test/replayed_call.h"
#include "test/simt/reports.h"
#include "test/suite.h"

extern "C" const hn::BackendTable* hn_backend_table();

namespace hn::test {
namespace {

/// The GPU's kernels cut their sums otherwise than any of the CPU's do, and round some terms to the type of x on the
/// way (attention's weights).
constexpr double kSlack = 4;

struct Options {
  int seeds = 1;
  double most = 1e9;
  FILE* write_times = nullptr;
  bool known = false;
  std::unordered_map<int64_t, double> times;
};

double processor_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

using Bytes = std::vector<std::string>;

/// What the call wrote, tensor by tensor.
Bytes written(const ReplayedCall& replayed) {
  Bytes all;
  const std::vector<RecordedUse>& uses = replayed.recorded().tensors;
  for (size_t i = 0; i < uses.size(); ++i) {
    if (uses[i].written) all.emplace_back(replayed.bytes_of_tensor(i), uses[i].bytes);
  }
  return all;
}

enum class Result { right, wrong, missing, cut_short };

struct Outcome {
  Result result;
  std::string problem;
};

/// `first`: what the first schedule wrote; empty before it.
Outcome run_once(void* device, const Case& recorded, int seed, Bytes& first) {
  const std::string under = "seed " + std::to_string(seed) + ": ";
  setenv("HUNYUAN_SIMT_SEED", std::to_string(seed).c_str(), 1);
  const int reports = sanitizer_reports();
  const ReplayedCall replayed(recorded);
  const Status status = hn_backend_table()->launch(device, kComputeLane, &replayed.host(), &replayed.call());
  if (status.code == Code::kernel_missing) return {Result::missing, status.message};
  if (!status.ok()) return {Result::wrong, under + status.message};
  if (sanitizer_reports() > reports) return {Result::wrong, under + "the sanitizer's report is above"};
  if (std::string problem = replayed.check(kSlack); !problem.empty()) return {Result::wrong, under + problem};
  Bytes bytes = written(replayed);
  if (first.empty()) {
    first = std::move(bytes);
  } else if (bytes != first) {
    return {Result::wrong, under + "other bytes than under seed 0"};
  }
  return {Result::right, ""};
}

Outcome run(void* device, const Case& recorded, Options& options) {
  Bytes first;
  const double start = processor_seconds();
  for (int seed = 0; seed < options.seeds; ++seed) {
    Outcome outcome = run_once(device, recorded, seed, first);
    if (outcome.result != Result::right) return outcome;
    if (seed > 0) continue;
    const double seconds = processor_seconds() - start;
    if (options.write_times != nullptr) {
      std::fprintf(options.write_times, "%lld %.6f\n", static_cast<long long>(recorded.number), seconds);
    }
    if (seconds > options.most && options.seeds > 1) return {Result::cut_short, ""};
  }
  return {Result::right, ""};
}

int run_all(const char* path, Options& options) {
  cases_path() = path;
  const CaseFile& file = recorded_cases();
  if (!file.complete) std::printf("the recording ended early: its file was full\n");
  void* device = nullptr;
  const Status opened = hn_backend_table()->open(0, &device);
  if (!opened.ok()) std::fprintf(stderr, "the emulator does not open: %s\n", opened.message);
  HN_CHECK(opened.ok());
  int counts[4] = {}, left_out = 0;
  double left_out_seconds = 0;
  for (const Case& recorded : file.cases) {
    const auto known = options.times.find(recorded.number);
    if (options.known && known == options.times.end()) {
      ++counts[static_cast<int>(Result::missing)];  // it had no time: there is no kernel
      continue;
    }
    if (options.known && known->second > options.most) {
      ++left_out;
      left_out_seconds += known->second;
      continue;
    }
    std::printf("@ %lld %s\n", static_cast<long long>(recorded.number), kOpNames[recorded.op]);
    std::fflush(stdout);
    const Outcome outcome = run(device, recorded, options);
    ++counts[static_cast<int>(outcome.result)];
    if (outcome.result == Result::wrong) {
      std::printf("FAIL %s\n     %s\n", recorded.describe().c_str(), outcome.problem.c_str());
    }
  }
  hn_backend_table()->close(device);
  const auto count = [&](Result result) { return counts[static_cast<int>(result)]; };
  std::printf("done right=%d wrong=%d missing=%d cut_short=%d left_out=%d left_out_seconds=%.1f seconds=%.1f\n",
              count(Result::right), count(Result::wrong), count(Result::missing), count(Result::cut_short), left_out,
              left_out_seconds, processor_seconds());
  return count(Result::wrong) > 0 ? 1 : 0;
}

void read_times(const char* path, Options& options) {
  FILE* file = std::fopen(path, "r");
  if (file == nullptr) std::fprintf(stderr, "cannot open %s\n", path);
  HN_CHECK(file != nullptr);
  long long number;
  double seconds;
  while (std::fscanf(file, "%lld %lf", &number, &seconds) == 2) options.times[number] = seconds;
  std::fclose(file);
  options.known = true;
}

/// Not 0 when an argument is unknown.
int parse(int count, char** args, Options& options) {
  for (int i = 2; i < count; i += 2) {
    if (i + 1 == count) return 2;
    const std::string name = args[i];
    const char* const value = args[i + 1];
    if (name == "--seeds") {
      options.seeds = std::atoi(value);
    } else if (name == "--most") {
      options.most = std::atof(value);
    } else if (name == "--times") {
      read_times(value, options);
    } else if (name == "--time") {
      HN_CHECK((options.write_times = std::fopen(value, "w")) != nullptr);
    } else {
      return 2;
    }
  }
  return count < 2 ? 2 : 0;
}

}  // namespace
}  // namespace hn::test

int main(int count, char** args) {
  using namespace hn::test;
  Options options;
  if (parse(count, args, options) != 0) {
    std::fprintf(stderr, "usage: simt_replay <file> [--seeds N] [--time FILE] [--times FILE] [--most SECONDS]\n");
    return 2;
  }
  const int code = run_all(args[1], options);
  if (options.write_times != nullptr) std::fclose(options.write_times);
  return code;
}
