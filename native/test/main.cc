// hn_driver: tests of the native side without Node, to be built with a sanitizer (HN_SANITIZE in CMakeLists.txt).
//
//   hn_driver [--cases FILE] [address|thread|all|<suite>...]
//
//   --cases FILE      op calls that core/recorder.h recorded; without it the suites that replay them do nothing
//   address, thread   all suites but those that are meant for the other sanitizer
//   all               the default

#include <cstring>
#include <string>
#include <vector>

#include "test/suite.h"

namespace {

using hn::test::Suite;

bool is_sanitizer(const std::string& word) { return word == "address" || word == "thread"; }

bool wanted(const Suite& suite, const std::vector<std::string>& words) {
  bool all = words.empty();
  for (const std::string& word : words) {
    if (word == suite.name) return true;
    all |= word == "all" || (is_sanitizer(word) && (!suite.sanitizer || word == suite.sanitizer));
  }
  return all;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> words;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--cases") == 0 && i + 1 < argc) {
      hn::test::cases_path() = argv[++i];
    } else {
      words.emplace_back(argv[i]);
    }
  }
  int ran = 0;
  for (Suite* suite = Suite::first(); suite; suite = suite->next) {
    if (!wanted(*suite, words)) continue;
    std::printf("%s\n", suite->name);
    std::fflush(stdout);
    suite->run();
    ++ran;
  }
  std::printf("%d suites passed, 0 failed\n", ran);
  return ran > 0 ? 0 : 1;
}
