// Reading files at an offset, from any thread; writing at a file's end.
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

/// A file that only grows. Made if it is not there; several processes may append to one.
class AppendFile {
 public:
  AppendFile() = default;
  ~AppendFile();
  AppendFile(const AppendFile&) = delete;
  AppendFile& operator=(const AppendFile&) = delete;

  bool open(const char* path);
  /// False when not all of it could be written.
  bool append(const void* from, size_t bytes);
  /// Its bytes at the moment; 0 when the system cannot tell.
  uint64_t size() const;

 private:
  int fd_ = -1;
};

}  // namespace hn::platform
