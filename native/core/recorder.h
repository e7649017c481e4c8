// Writes op calls to a file as they run, with the bytes they read and wrote, so that tests can make the same calls
// again without Node, under a sanitizer (native/test/replay.h). HUNYUAN_RECORD names the file; what is there already
// stays.
//
// The file: kRecordMagic, then records without gaps. A record: RecordedCall; `args` counts (int64: 0 is an argument not
// given); `tensors` times RecordedTensor; `attrs` doubles; then contents, each padded with zeros to 8 bytes: first what
// the tensors held before the call (fresh ones held nothing), then what the written ones held after it. Contents are
// all bytes from a view's first element to its last, those between its rows too. A record whose op is "" ends the file:
// it had become too large.
#pragma once

#include <string>
#include <unordered_map>

#include "core/platform/file.h"
#include "core/platform/threads.h"
#include "core/record.h"

namespace hn {

constexpr char kRecordMagic[8] = {'H', 'N', 'C', 'A', 'L', 'L', 'S', '1'};

struct RecordedCall {
  int64_t bytes;  // of the whole record
  char op[40];    // the name: ids change as ops are added
  int64_t args, tensors, attrs;
};

struct RecordedTensor {
  static constexpr int64_t kFresh = 1, kWritten = 2;  // flags
  int64_t dtype, rank, flags;
  int64_t misalignment;  // of the first element's address: its remainder by 64
  int64_t bytes;         // from the first element to the last
  int64_t shape[kMaxRank], strides[kMaxRank];
};

class Recorder {
 public:
  /// Calls of more bytes than this are left out, and so are those that differ from this many others in nothing but the
  /// contents of their tensors.
  static constexpr uint64_t kLargestCall = uint64_t{8} << 20;
  static constexpr int kMostAlike = 4;
  static constexpr uint64_t kLargestFile = uint64_t{1} << 30;

  /// The recorder of this process in `out`; nullptr when none is wanted or the backend's memory is not the host's.
  static Status find(const BackendTable& table, Recorder** out);

  /// What is known before the launch, views placed; empty when the call is left out.
  std::string begin(const char* op, const Record& record);
  /// Adds what the launch wrote, and writes all to the file.
  void end(std::string&& begun, const Record& record);

 private:
  bool open(const char* path);
  bool is_new(const std::string& call);

  platform::Mutex mutex_;
  std::unordered_map<std::string, int> alike_;  // by all that stands before the contents
  platform::AppendFile file_;
  bool full_ = false;
};

/// Bytes from the view's first element to its last; 0 when it has none.
int64_t extent_bytes(const TensorView& view);

}  // namespace hn
