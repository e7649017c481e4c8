#include "core/registry.h"

#include "core/generated/ops.h"
#include "core/platform/dynlib.h"

namespace hn {
namespace {

/// Backend names become file names: lower-case letters, digits and underscores only.
bool is_name(const std::string& name) {
  if (name.empty() || name.size() > 32) return false;
  for (const char c : name) {
    if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_')) return false;
  }
  return true;
}

std::string library_path(const std::string& name) {
  return platform::folder_of(reinterpret_cast<const void*>(&Registry::shared)) + "/hunyuan_" + name + ".so";
}

}  // namespace

std::string refuse_table(const BackendTable& table, const std::string& file) {
  if (table.version != kBackendVersion) {
    return file + " speaks version " + std::to_string(table.version) + " of the backend table, this build version " +
           std::to_string(kBackendVersion) + "; build both from the same sources";
  }
  if (table.size != sizeof(BackendTable)) {
    return file + " has a backend table of " + std::to_string(table.size) + " bytes, this build one of " +
           std::to_string(sizeof(BackendTable)) + "; build both from the same sources";
  }
  if (table.ops_hash != kOpsHash) {
    return file + " was built from other op declarations than this build; build both from the same sources";
  }
  return "";
}

Registry& Registry::shared() {
  static Registry& registry = *new Registry;
  return registry;
}

void Registry::add_builtin(const BackendTable* table) {
  platform::Lock lock(mutex_);
  builtin_[table->name] = table;
}

Registry::Entry Registry::load(const std::string& name) {
  Entry entry;
  const std::string path = library_path(name);
  const std::string file = path.substr(path.rfind('/') + 1);
  if (!platform::file_exists(path)) {
    entry.reason = "this build has no " + name + " backend: " + path + " is not there";
    return entry;
  }
  std::string error;
  void* library = platform::open_library(path, &error);
  if (!library) {
    entry.reason = file + " does not load: " + error;
    return entry;
  }
  const auto get_table = reinterpret_cast<BackendTableFn>(platform::find_symbol(library, kBackendSymbol));
  const BackendTable* table = get_table ? get_table() : nullptr;
  entry.reason = table ? refuse_table(*table, file) : file + " is no backend: it has no " + kBackendSymbol;
  if (entry.reason.empty()) entry.table = table;
  return entry;
}

Registry::Entry Registry::find(const std::string& name) {
  Entry entry;
  if (!is_name(name)) {
    entry.reason = "no backend has such a name";
    return entry;
  }
  platform::Lock lock(mutex_);
  if (const auto builtin = builtin_.find(name); builtin != builtin_.end()) {
    entry.table = builtin->second;
  } else if (const auto loaded = loaded_.find(name); loaded != loaded_.end()) {
    entry = loaded->second;
  } else {
    entry = load(name);
    if (entry.table) loaded_[name] = entry;  // a failure is looked at afresh: the user may build the library meanwhile
  }
  if (entry.table) {
    const char* reason = "";
    entry.devices = entry.table->device_count(&reason);
    if (entry.devices == 0) entry.reason = reason;
  }
  return entry;
}

std::vector<std::pair<std::string, Registry::Entry>> Registry::list() {
  std::vector<std::string> names;
  {
    platform::Lock lock(mutex_);
    for (const auto& builtin : builtin_) names.push_back(builtin.first);
  }
  names.push_back("cuda");
  for (const char* name : {"simt", "null"}) {
    if (platform::file_exists(library_path(name))) names.push_back(name);
  }
  std::vector<std::pair<std::string, Entry>> out;
  for (const std::string& name : names) out.emplace_back(name, find(name));
  return out;
}

}  // namespace hn
