#include "test/simt/reports.h"

namespace {

int reports = 0;

}  // namespace

// The sanitizers' own hooks, which they call where a program has them.
#if defined(HN_SIMT_RACES)
extern "C" void __tsan_on_report(void*) { ++reports; }
#elif defined(HN_SIMT_BOUNDS)
#include <sanitizer/asan_interface.h>
extern "C" void __ubsan_on_report() { ++reports; }
namespace {
const bool registered = [] {
  __asan_set_error_report_callback([](const char*) { ++reports; });
  return true;
}();
}  // namespace
#endif

namespace hn::test {

int sanitizer_reports() { return reports; }

}  // namespace hn::test
