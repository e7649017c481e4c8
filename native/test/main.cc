// hn_driver: tests of the native side without Node, to be built with a sanitizer (HN_SANITIZE in CMakeLists.txt).
//
//   hn_driver [address|thread|all|<suite>...]   "address" and "thread" only say which sanitizer this is: all suites run

#include <cstring>
#include <initializer_list>

#include "test/suite.h"

namespace {

bool wanted(const char* suite, int argc, char** argv) {
  bool all = argc < 2;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], suite) == 0) return true;
    for (const char* name : {"address", "thread", "all"}) all |= std::strcmp(argv[i], name) == 0;
  }
  return all;
}

}  // namespace

int main(int argc, char** argv) {
  int ran = 0;
  for (hn::test::Suite* suite = hn::test::Suite::first(); suite; suite = suite->next) {
    if (!wanted(suite->name, argc, argv)) continue;
    std::printf("%s\n", suite->name);
    std::fflush(stdout);
    suite->run();
    ++ran;
  }
  std::printf("%d suites passed, 0 failed\n", ran);
  return ran > 0 ? 0 : 1;
}
