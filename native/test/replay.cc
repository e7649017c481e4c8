#include "test/replay.h"

#include "core/platform/threads.h"
#include "test/replayed_call.h"

namespace hn::test {

std::string replay(const Case& recorded, const cpu::KernelFn* kernels, cpu::ThreadPool& pool) {
  const ReplayedCall replayed(recorded);
  cpu::Context context(pool, replayed.host());
  const platform::FlushDenormals flush;  // as the backend's own launch does
  const Status status = kernels[recorded.op](context, replayed.call());
  return status.ok() ? replayed.check() : std::string("the kernel failed: ") + status.message;
}

}  // namespace hn::test
