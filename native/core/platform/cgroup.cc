#include "core/platform/cgroup.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace hn::platform {
namespace {

/// First line of a small file; empty when it cannot be read.
std::string first_line(const std::string& path) {
  char line[256] = "";
  if (FILE* file = std::fopen(path.c_str(), "re")) {
    if (!std::fgets(line, sizeof line, file)) line[0] = 0;
    std::fclose(file);
  }
  line[std::strcspn(line, "\n")] = 0;
  return line;
}

/// Whether a v1 controller list ("cpu,cpuacct") names the controller.
bool lists(const std::string& controllers, const char* name) {
  return ("," + controllers + ",").find("," + std::string(name) + ",") != std::string::npos;
}

/// This process's folder below the controller's mount, from /proc/self/cgroup: lines "id:controllers:path", where v2
/// has no controllers ("0::/path").
std::string own_path(const char* v1_controller) {
  std::string found = "/";
  FILE* file = std::fopen("/proc/self/cgroup", "re");
  if (!file) return found;
  char line[4096];
  while (std::fgets(line, sizeof line, file)) {
    line[std::strcspn(line, "\n")] = 0;
    char* controllers = std::strchr(line, ':');
    char* path = controllers ? std::strchr(controllers + 1, ':') : nullptr;
    if (!path) continue;
    *controllers++ = 0;
    *path++ = 0;
    const bool wanted = v1_controller ? lists(controllers, v1_controller) : *controllers == 0;
    if (wanted) found = path;
  }
  std::fclose(file);
  return found;
}

/// Calls visit(folder) for this process's folder and all above it: a limit on any of them holds. In a container the
/// path may name folders outside; those files are missing, and the mount's root then is the container's own.
template <class Visit>
void for_each_level(const std::string& mount, const char* v1_controller, Visit visit) {
  std::string path = own_path(v1_controller);
  while (!path.empty() && path != "/") {
    visit(mount + path);
    path.resize(path.rfind('/') == std::string::npos ? 0 : path.rfind('/'));
  }
  visit(mount);
}

void take_cpus(double quota, double period, int* cpus) {
  if (quota <= 0 || period <= 0) return;
  const int granted = std::max(1, static_cast<int>(std::min(quota / period + 0.999, 1e6)));
  *cpus = *cpus == 0 ? granted : std::min(*cpus, granted);
}

void take_bytes(const std::string& text, uint64_t* bytes) {
  char* end = nullptr;
  const unsigned long long value = std::strtoull(text.c_str(), &end, 10);
  if (end != text.c_str() && value > 0) *bytes = std::min<uint64_t>(*bytes, value);  // "max" has no digits
}

}  // namespace

int cgroup_cpus() {
  int cpus = 0;
  for_each_level("/sys/fs/cgroup", nullptr, [&](const std::string& folder) {
    double quota = 0, period = 0;  // "200000 100000" or "max 100000"
    if (std::sscanf(first_line(folder + "/cpu.max").c_str(), "%lf %lf", &quota, &period) == 2)
      take_cpus(quota, period, &cpus);
  });
  for_each_level("/sys/fs/cgroup/cpu", "cpu", [&](const std::string& folder) {
    take_cpus(std::atof(first_line(folder + "/cpu.cfs_quota_us").c_str()),
              std::atof(first_line(folder + "/cpu.cfs_period_us").c_str()), &cpus);
  });
  return cpus;
}

uint64_t cgroup_memory_bytes() {
  uint64_t bytes = UINT64_MAX;
  for_each_level("/sys/fs/cgroup", nullptr,
                 [&](const std::string& folder) { take_bytes(first_line(folder + "/memory.max"), &bytes); });
  for_each_level("/sys/fs/cgroup/memory", "memory",
                 [&](const std::string& folder) { take_bytes(first_line(folder + "/memory.limit_in_bytes"), &bytes); });
  return bytes;
}

}  // namespace hn::platform
