// Reading files at an offset, from any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace hn::platform {

class File {
 public:
  File() = default;
  ~File();
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  /// False with the system's words in `error`.
  bool open(const char* path, std::string* error);
  /// Reads exactly `bytes`; false with the reason in `error`, also when the file ends before.
  bool read(void* into, size_t bytes, uint64_t offset, std::string* error);

 private:
  int fd_ = -1;
};

}  // namespace hn::platform
