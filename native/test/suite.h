// A test suite registers itself; main.cc runs those named on the command line, or all.
#pragma once

#include <cstdio>
#include <cstdlib>

namespace hn::test {

struct Suite {
  const char* name;
  void (*run)();
  const char* sanitizer;  // the only one for which it is worth its time; nullptr: all
  Suite* next;

  Suite(const char* suite_name, void (*suite_run)(), const char* only_for = nullptr)
      : name(suite_name), run(suite_run), sanitizer(only_for), next(first()) {
    first() = this;
  }
  static Suite*& first() {
    static Suite* head = nullptr;
    return head;
  }
};

/// The file of recorded op calls (core/recorder.h) to run; nullptr when none was named.
inline const char*& cases_path() {
  static const char* path = nullptr;
  return path;
}

/// Checks run in release builds too; the first failure ends the driver.
#define HN_CHECK(condition)                                                        \
  do {                                                                             \
    if (!(condition)) {                                                            \
      std::fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #condition); \
      std::exit(1);                                                                \
    }                                                                              \
  } while (0)

/// How hard to try: HN_TEST_ROUNDS multiplies the rounds of randomised tests.
inline int rounds(int usual) {
  const char* factor = std::getenv("HN_TEST_ROUNDS");
  return factor ? usual * std::atoi(factor) : usual;
}

}  // namespace hn::test
