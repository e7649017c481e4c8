// Guard zones: what is written beside a block is found, told once, and told of the right op.

#include <cstdlib>

#include "core/guard.h"
#include "test/client.h"

namespace hn::test {
namespace {

constexpr double kBytes = kElements * 8.0;  // of an output

uint64_t violations(Client& client) { return client.device().memory().counters().guard_violations; }

void good_kernels() {
  Client client(false);
  HN_CHECK(client.device().memory().guarded());
  const double a = client.constant(1);
  const double b = client.call({kWorkspace, 0, 1000}, {a});
  client.write({kAddInPlace, 2}, {b}, a);
  HN_CHECK(client.value(a) == 4);
  HN_CHECK(!client.wait(client.sync()) && violations(client) == 0);
}

void bad_kernels() {
  Client client(false);
  uint64_t seen = 0;
  for (const Params& params : {Params{kBeside, 0, -1}, Params{kBeside, 0, -64}, Params{kBeside, 0, kBytes},
                               Params{kBeside, 0, kBytes + 63}, Params{kBesideWork, 0, 1001}}) {
    const double bad = client.call(params, {});
    const ErrorPtr error = client.wait(client.read(bad)->ticket);
    HN_CHECK(error && error->code == Code::device_error && !error->op.empty());
    HN_CHECK(error->message.find("wrote beside") != std::string::npos);
    HN_CHECK(violations(client) == ++seen);
    HN_CHECK(client.value(client.constant(3)) == 3);
    client.release(bad);
  }
  HN_CHECK(!client.wait(client.sync()) && violations(client) == seen);
}

/// Damage between two launches is found when the block is given back, and a sync tells it.
void unknown_writer() {
  Client client(false);
  Allocator& memory = client.device().memory();
  Block block;
  HN_CHECK(memory.allocate(kComputeLane, 13, &block).ok());
  char* data = static_cast<char*>(block.data);
  HN_CHECK(reinterpret_cast<uintptr_t>(data) % 16 == 0 && block.asked == 13);
  for (int i = 0; i < 13; ++i) HN_CHECK(data[i] == '\xFF');
  data[13] ^= 1;
  memory.release(kComputeLane, 0, block);
  HN_CHECK(violations(client) == 1);
  HN_CHECK(client.wait_code(client.sync()) == Code::device_error);
  HN_CHECK(!client.wait(client.sync()));
}

/// A stream may still write a block that was given back: zones would be of no use, and are left out.
void not_on_streams() {
  Client client(true);
  HN_CHECK(!client.device().memory().guarded());
}

void run() {
  setenv("HUNYUAN_GUARD", "1", 1);
  good_kernels();
  bad_kernels();
  unknown_writer();
  not_on_streams();
  unsetenv("HUNYUAN_GUARD");
}

const Suite suite("guard", run);

}  // namespace
}  // namespace hn::test
