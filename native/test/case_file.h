// Reads what core/recorder.h wrote.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/recorder.h"

namespace hn::test {

struct RecordedUse {
  TensorView view;  // without an address
  bool fresh = false;
  bool written = false;
  size_t misalignment = 0;
  std::span<const char> before, after;  // empty for fresh ones, and for those that are only read
  size_t bytes = 0;
};

/// One op call.
struct Case {
  int64_t number = 0;  // in the file, from 0
  uint32_t op = 0;
  std::vector<int32_t> arg_counts;
  std::vector<RecordedUse> tensors;
  std::vector<double> attrs;

  size_t bytes() const;
  /// "linear #17: [3, 128] f32, ...".
  std::string describe() const;
};

struct CaseFile {
  std::vector<char> contents;  // what the cases point into
  std::vector<Case> cases;
  bool complete = true;  // false when the recorder stopped because the file was full
};

/// The file of `hn_driver --cases FILE`, read at first use. What cannot be read ends the driver.
const CaseFile& recorded_cases();

}  // namespace hn::test
