#include "core/recorder.h"

#include <cstdlib>
#include <cstring>

namespace hn {
namespace {

/// A header for a record without tensors.
RecordedCall call_header(const char* op) {
  RecordedCall header{};
  header.bytes = sizeof header;
  std::strncpy(header.op, op, sizeof header.op - 1);
  return header;
}

template <class T>
void put(std::string& out, const T& value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

void put_contents(std::string& out, const TensorView& view) {
  const auto bytes = static_cast<size_t>(extent_bytes(view));
  if (bytes > 0) out.append(static_cast<const char*>(view.data), bytes);
  out.resize((out.size() + 7) / 8 * 8);
}

RecordedTensor describe(const TensorView& view, const TensorUse& use) {
  RecordedTensor tensor{};
  tensor.dtype = static_cast<int64_t>(view.dtype);
  tensor.rank = view.rank;
  tensor.flags = (use.fresh ? RecordedTensor::kFresh : 0) | (use.written ? RecordedTensor::kWritten : 0);
  tensor.misalignment = static_cast<int64_t>(reinterpret_cast<uintptr_t>(view.data) % 64);
  tensor.bytes = extent_bytes(view);
  for (int i = 0; i < view.rank; ++i) {
    tensor.shape[i] = view.shape[i];
    tensor.strides[i] = view.strides[i];
  }
  return tensor;
}

uint64_t contents_bytes(const Record& record) {
  uint64_t bytes = 0;
  for (size_t i = 0; i < record.uses.size(); ++i) {
    const int times = (record.uses[i].fresh ? 0 : 1) + (record.uses[i].written ? 1 : 0);
    bytes += static_cast<uint64_t>(extent_bytes(record.views[i])) * static_cast<uint64_t>(times);
  }
  return bytes;
}

}  // namespace

int64_t extent_bytes(const TensorView& view) {
  int64_t last = 0;
  for (int i = 0; i < view.rank; ++i) {
    if (view.shape[i] == 0) return 0;
    last += (view.shape[i] - 1) * view.strides[i];
  }
  return bytes_of(view.dtype, last + 1);
}

Status Recorder::find(const BackendTable& table, Recorder** out) {
  *out = nullptr;
  const char* path = std::getenv("HUNYUAN_RECORD");
  if (!path || *path == 0 || !table.host_memory) return {};
  static Recorder& recorder = *new Recorder;  // lanes may still run while the process ends
  static const bool opened = recorder.open(path);
  if (!opened) return Status::invalid("HUNYUAN_RECORD names a file that cannot be written");
  *out = &recorder;
  return {};
}

bool Recorder::open(const char* path) {
  if (!file_.open(path)) return false;
  return file_.size() > 0 || file_.append(kRecordMagic, sizeof kRecordMagic);
}

std::string Recorder::begin(const char* op, const Record& record) {
  if (contents_bytes(record) > kLargestCall) return {};
  std::string out;
  RecordedCall header = call_header(op);
  header.args = static_cast<int64_t>(record.arg_counts.size());
  header.tensors = static_cast<int64_t>(record.uses.size());
  header.attrs = static_cast<int64_t>(record.attrs.size());
  put(out, header);
  for (const int32_t count : record.arg_counts) put(out, int64_t{count});
  for (size_t i = 0; i < record.uses.size(); ++i) put(out, describe(record.views[i], record.uses[i]));
  for (const double attr : record.attrs) put(out, attr);
  if (!is_new(out)) return {};
  for (size_t i = 0; i < record.uses.size(); ++i) {
    if (!record.uses[i].fresh) put_contents(out, record.views[i]);
  }
  return out;
}

bool Recorder::is_new(const std::string& call) {
  platform::Lock lock(mutex_);
  return ++alike_[call] <= kMostAlike;
}

void Recorder::end(std::string&& begun, const Record& record) {
  if (begun.empty()) return;
  for (size_t i = 0; i < record.uses.size(); ++i) {
    if (record.uses[i].written) put_contents(begun, record.views[i]);
  }
  const auto bytes = static_cast<int64_t>(begun.size());
  std::memcpy(begun.data() + offsetof(RecordedCall, bytes), &bytes, sizeof bytes);
  platform::Lock lock(mutex_);
  if (full_) return;
  if (file_.size() + begun.size() + sizeof(RecordedCall) > kLargestFile) {
    full_ = true;
    begun.clear();
    put(begun, call_header(""));
  }
  // A disk that is full ends the recording; the reader finds the torn record.
  if (!file_.append(begun.data(), begun.size())) full_ = true;
}

}  // namespace hn
