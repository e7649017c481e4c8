#include "core/platform/dynlib.h"

#include <dlfcn.h>
#include <unistd.h>

namespace hn::platform {

std::string folder_of(const void* address) {
  Dl_info found{};
  if (dladdr(address, &found) == 0 || !found.dli_fname) return "";
  const std::string path = found.dli_fname;
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : path.substr(0, slash);
}

bool file_exists(const std::string& path) { return access(path.c_str(), R_OK) == 0; }

void* open_library(const std::string& path, std::string* error) {
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    const char* why = dlerror();
    *error = why ? why : "unknown reason";
  }
  return library;
}

void* find_symbol(void* library, const char* name) { return dlsym(library, name); }

}  // namespace hn::platform
