#include "core/platform/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <algorithm>
#include <cerrno>
#include <system_error>

namespace hn::platform {
namespace {

std::string system_words() { return std::generic_category().message(errno); }

}  // namespace

File::~File() {
  if (fd_ >= 0) ::close(fd_);
}

bool File::open(const char* path, std::string* error) {
  fd_ = ::open(path, O_RDONLY | O_CLOEXEC);
  if (fd_ < 0) *error = system_words();
  return fd_ >= 0;
}

bool File::read(void* into, size_t bytes, uint64_t offset, std::string* error) {
  char* to = static_cast<char*>(into);
  while (bytes > 0) {
    const size_t part = std::min<size_t>(bytes, size_t{1} << 30);  // Linux reads at most 2 GiB a call
    const ssize_t got = ::pread(fd_, to, part, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      *error = system_words();
      return false;
    }
    if (got == 0) {
      *error = "the file ends at byte " + std::to_string(offset);
      return false;
    }
    to += got;
    offset += static_cast<uint64_t>(got);
    bytes -= static_cast<size_t>(got);
  }
  return true;
}

AppendFile::~AppendFile() {
  if (fd_ >= 0) ::close(fd_);
}

bool AppendFile::open(const char* path) {
  fd_ = ::open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  return fd_ >= 0;
}

bool AppendFile::append(const void* from, size_t bytes) {
  const char* at = static_cast<const char*>(from);
  while (bytes > 0) {
    const ssize_t put = ::write(fd_, at, bytes);
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) return false;
    at += put;
    bytes -= static_cast<size_t>(put);
  }
  return true;
}

uint64_t AppendFile::size() const {
  struct stat found {};
  return ::fstat(fd_, &found) == 0 ? static_cast<uint64_t>(found.st_size) : 0;
}

}  // namespace hn::platform
