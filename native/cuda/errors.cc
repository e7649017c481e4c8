#include "cuda/errors.h"

#include <set>

#include "core/platform/threads.h"

namespace hn::cuda {

const char* kept(const std::string& text) {
  // Never destroyed: other threads may still hold a status when the process ends.
  static platform::Mutex& mutex = *new platform::Mutex;
  static std::set<std::string>& texts = *new std::set<std::string>;
  platform::Lock lock(mutex);
  return texts.insert(text).first->c_str();
}

}  // namespace hn::cuda
