#include "core/platform/file.h"

#include <fcntl.h>
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

}  // namespace hn::platform
