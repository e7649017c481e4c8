// One piece of queued work. Records are recycled, and hold up to 16 tensors and 48 attributes in place, so that a
// steady stream of ops allocates nothing for the queue.
#pragma once

#include <algorithm>
#include <atomic>
#include <string>
#include <vector>

#include "core/storage.h"

namespace hn {

/// An array that spills into a vector beyond N elements and keeps that vector's memory for the next use.
template <class T, size_t N>
class InlineArray {
 public:
  /// Sets the size; what the elements hold is left over from earlier.
  void resize(size_t count) {
    if (count > spilled_.size() && count > N) spilled_.resize(count);
    data_ = count > N ? spilled_.data() : inline_;
    size_ = count;
  }
  T& append() {
    if (size_ >= N) {
      if (size_ >= spilled_.size()) spilled_.resize(2 * size_);
      if (size_ == N) std::copy(inline_, inline_ + N, spilled_.data());
      data_ = spilled_.data();
    }
    return data_[size_++];
  }
  T* data() { return data_; }
  const T* data() const { return data_; }
  size_t size() const { return size_; }
  T& operator[](size_t i) { return data_[i]; }
  const T& operator[](size_t i) const { return data_[i]; }
  T* begin() { return data_; }
  T* end() { return data_ + size_; }
  const T* begin() const { return data_; }
  const T* end() const { return data_ + size_; }

 private:
  T* data_ = inline_;
  size_t size_ = 0;
  T inline_[N];
  std::vector<T> spilled_;
};

enum class RecordKind : uint8_t { launch, upload, read_file, download, sync };

/// How a record uses one storage. The address in the matching view is filled in when the record runs.
struct TensorUse {
  Storage* storage = nullptr;
  int64_t offset = 0;    // in elements
  bool fresh = false;    // the storage is born here
  bool written = false;  // fresh ones are always written
};

struct Record {
  RecordKind kind = RecordKind::launch;
  Lane lane = kComputeLane;
  uint32_t op = 0;
  uint64_t seq = 0;       // position on its lane, from 1
  uint64_t order = 0;     // position among all records of the device: the ticket of a read or sync
  uint64_t wait_seq = 0;  // what the other lane must have issued before
  std::atomic<bool> cancelled{false};

  InlineArray<int32_t, 24> arg_counts;
  InlineArray<TensorUse, 16> uses;
  InlineArray<TensorView, 16> views;
  InlineArray<double, 48> attrs;

  // upload: the bytes, ours to free. download: where to, `offset` into the storage. read_file: what of which file, for
  // whom (`label`), and where in the storage it begins.
  void* host = nullptr;
  size_t bytes = 0;
  uint64_t offset = 0;
  uint64_t storage_offset = 0;
  std::string path;
  std::string label;
};

}  // namespace hn
