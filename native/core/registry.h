// The backends of this process: those linked in, and those in shared libraries beside the addon, opened when first
// asked for. Shared by all addon instances; entries are never taken away.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/backend.h"
#include "core/platform/threads.h"

namespace hn {

class Registry {
 public:
  struct Entry {
    const BackendTable* table = nullptr;
    std::string reason;  // why there is no table, or no device
    int32_t devices = 0;
  };

  /// Lives as long as the process: threads may still ask during exit.
  static Registry& shared();

  void add_builtin(const BackendTable* table);
  /// A linked-in backend, or hunyuan_<name>.so beside this library. What was found once stays.
  Entry find(const std::string& name);
  /// What `doctor` shows: the backends linked in, CUDA, and any other whose library is there.
  std::vector<std::pair<std::string, Entry>> list();

 private:
  Entry load(const std::string& name);

  platform::Mutex mutex_;
  std::map<std::string, const BackendTable*> builtin_;
  std::map<std::string, Entry> loaded_;
};

/// Why a table cannot be used by this build; "" when it can.
std::string refuse_table(const BackendTable& table, const std::string& file);

}  // namespace hn
