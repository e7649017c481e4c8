// From a call to a queued record. Everything is checked before anything is made, so a refused call leaves nothing
// behind.

#include <cstdlib>
#include <cstring>

#include "core/device.h"
#include "core/generated/ops.h"

namespace hn {
namespace {

constexpr double kMostExact = 0x1p53;
constexpr int kWrittenFlag = 1;

/// Reads one op call from the mailbox into a record.
class Decoder {
 public:
  Decoder(std::span<double> mailbox, const HandleTable& handles, const Device* device, std::vector<size_t>& fresh_at)
      : mailbox_(mailbox), handles_(handles), device_(device), fresh_at_(fresh_at) {}

  bool header();
  Answer body(Record& record);

  uint32_t op() const { return static_cast<uint32_t>(op_); }
  Lane lane() const { return static_cast<Lane>(lane_); }

 private:
  /// The next number, if it is whole and in [0, limit).
  bool whole(double limit, int64_t* out) {
    if (at_ >= mailbox_.size()) return false;
    const double value = mailbox_[at_];
    if (!(value >= 0 && value < limit)) return false;
    *out = static_cast<int64_t>(value);
    ++at_;
    return static_cast<double>(*out) == value;
  }
  size_t left() const { return mailbox_.size() - at_; }

  Answer tensor(TensorUse& use, TensorView& view);
  bool matches_signature(const Record& record) const;
  bool shape(TensorView& view, int64_t offset, int64_t* elements, int64_t* extent);

  const std::span<double> mailbox_;
  const HandleTable& handles_;
  const Device* const device_;
  std::vector<size_t>& fresh_at_;
  size_t at_ = 0;
  int64_t op_ = 0, lane_ = 0, args_ = 0, attrs_ = 0;
};

bool Decoder::header() {
  return whole(kOpCount, &op_) && whole(kLaneCount, &lane_) && whole(kMostExact, &args_) &&
         whole(kMostExact, &attrs_) && static_cast<size_t>(args_) <= left() && static_cast<size_t>(attrs_) <= left();
}

Answer Decoder::body(Record& record) {
  fresh_at_.clear();
  record.arg_counts.resize(static_cast<size_t>(args_));
  for (int64_t arg = 0; arg < args_; ++arg) {
    int64_t count = 0;
    if (!whole(static_cast<double>(left()), &count)) return Answer::bad_argument;
    record.arg_counts[static_cast<size_t>(arg)] = static_cast<int32_t>(count);
    for (int64_t i = 0; i < count; ++i) {
      const Answer answer = tensor(record.uses.append(), record.views.append());
      if (answer == Answer::ok) continue;
      mailbox_[0] = static_cast<double>(arg);
      mailbox_[1] = static_cast<double>(i);
      return answer;
    }
  }
  if (static_cast<size_t>(attrs_) > left()) return Answer::bad_argument;
  record.attrs.resize(static_cast<size_t>(attrs_));
  std::memcpy(record.attrs.data(), mailbox_.data() + at_, static_cast<size_t>(attrs_) * sizeof(double));
  return matches_signature(record) ? Answer::ok : Answer::bad_argument;
}

/// The generated decoders read as many tensors and numbers as the op declares without looking: a record that holds
/// others must not reach them.
bool Decoder::matches_signature(const Record& record) const {
  const char* sign = kOpSignatures[op_];
  for (size_t arg = 0; arg < record.arg_counts.size(); ++arg, ++sign) {
    const int32_t count = record.arg_counts[arg];
    if (!(*sign == 'l' || (*sign == 't' && count == 1) || (*sign == '?' && count <= 1))) return false;
  }
  if (*sign != '|') return false;
  size_t at = 0;
  while (*++sign != 0) {
    if (at >= record.attrs.size()) return false;
    const double value = record.attrs[at++];
    if (*sign == 'n') continue;
    const size_t rest = record.attrs.size() - at;
    if (!(value >= 0 && value <= static_cast<double>(rest))) return false;
    at += static_cast<size_t>(value);
  }
  return at == record.attrs.size();
}

Answer Decoder::tensor(TensorUse& use, TensorView& view) {
  use = {};
  if (left() == 0) return Answer::bad_argument;
  const size_t handle_at = at_++;
  int64_t flags = 0, dtype = 0, rank = 0;
  if (!whole(256, &flags) || !whole(static_cast<double>(DType::count), &dtype) || !whole(kMostExact, &use.offset) ||
      !whole(kMaxRank + 1, &rank)) {
    return Answer::bad_argument;
  }
  view.data = nullptr;
  view.dtype = static_cast<DType>(dtype);
  view.rank = static_cast<int32_t>(rank);
  int64_t elements = 0, extent = 0;
  if (!shape(view, use.offset, &elements, &extent)) return Answer::bad_argument;

  use.fresh = mailbox_[handle_at] == 0;
  use.written = use.fresh || (flags & kWrittenFlag) != 0;
  uint64_t bytes = 0;
  if (use.fresh) {
    bytes = static_cast<uint64_t>(bytes_of(view.dtype, elements));
    fresh_at_.push_back(handle_at);
  } else {
    use.storage = handles_.find(mailbox_[handle_at]);
    if (!use.storage) return Answer::disposed;
    if (use.storage->device != device_) return Answer::wrong_device;
    bytes = use.storage->bytes;
  }
  return static_cast<uint64_t>(bytes_of(view.dtype, extent)) <= bytes ? Answer::ok : Answer::out_of_bounds;
}

/// Reads shape and strides; `extent` is the number of elements from the storage's start to the view's last one. Both
/// stay below 2^50, so that no later product with an element's size leaves the range of int64.
bool Decoder::shape(TensorView& view, int64_t offset, int64_t* elements, int64_t* extent) {
  constexpr double kMostElements = 0x1p50;
  double count = 1, last = static_cast<double>(offset);
  for (int i = 0; i < view.rank; ++i) {
    if (!whole(kMostElements, &view.shape[i])) return false;
    count *= static_cast<double>(view.shape[i]);
  }
  for (int i = 0; i < view.rank; ++i) {
    if (!whole(kMostElements, &view.strides[i])) return false;
    last += static_cast<double>(view.shape[i] - 1) * static_cast<double>(view.strides[i]);
  }
  if (count == 0) last = static_cast<double>(offset) - 1;
  if (!(count < kMostElements && last < kMostElements)) return false;
  *elements = static_cast<int64_t>(count);
  *extent = static_cast<int64_t>(last) + 1;
  return true;
}

}  // namespace

Answer Device::draft(Lane lane, RecordKind kind, Record** out) {
  if (stopped_) return Answer::device_gone;
  if (!start_lane(lane)) return Answer::no_host_memory;
  Record* record = lanes_[lane].queue.draft();
  if (!record) return Answer::queue_full;
  record->kind = kind;
  record->lane = lane;
  record->wait_seq = 0;
  record->arg_counts.resize(0);
  record->uses.resize(0);
  record->views.resize(0);
  record->attrs.resize(0);
  *out = record;
  return Answer::ok;
}

/// A storage with a handle. The record that makes it takes its own reference in `order`.
Storage* Device::make_storage(HandleTable& handles, Lane lane, uint64_t bytes, double* handle) {
  auto* storage = new Storage(this, &memory_, bytes, lane);
  *handle = handles.add(storage);
  return storage;
}

/// Takes the record's reference, and works out what of the other lane it must wait for.
void Device::order(Record& record, const TensorUse& use) {
  Storage& storage = *use.storage;
  retain(&storage);
  const Lane other = record.lane == kComputeLane ? kTransferLane : kComputeLane;
  if (storage.write_lane == other) record.wait_seq = std::max(record.wait_seq, storage.write_seq);
  if (use.written) record.wait_seq = std::max(record.wait_seq, storage.use_seq[other]);
  const uint64_t seq = lanes_[record.lane].queue.next_seq();
  storage.used_lanes |= 1u << record.lane;
  storage.use_seq[record.lane] = seq;
  if (use.written) {
    storage.write_lane = record.lane;
    storage.write_seq = seq;
  }
}

void Device::push(Record& record) {
  record.order = ++order_;
  for (const TensorUse& use : record.uses) order(record, use);
  lanes_[record.lane].queue.push(&record);
}

Answer Device::submit(HandleTable& handles, std::span<double> mailbox) {
  Decoder decoder(mailbox, handles, this, fresh_at_);
  const bool valid = decoder.header();
  mailbox[0] = -1;  // no argument is at fault, unless the decoder names one
  if (!valid) return Answer::bad_argument;
  Record* record = nullptr;
  if (const Answer answer = draft(decoder.lane(), RecordKind::launch, &record); answer != Answer::ok) return answer;
  record->op = decoder.op();
  if (const Answer answer = decoder.body(*record); answer != Answer::ok) return answer;
  if (!handles.has_room(fresh_at_.size())) return Answer::handles_exhausted;
  size_t fresh = 0;
  for (size_t i = 0; i < record->uses.size(); ++i) {
    TensorUse& use = record->uses[i];
    if (!use.fresh) continue;
    const TensorView& view = record->views[i];
    const auto bytes = static_cast<uint64_t>(bytes_of(view.dtype, view.elements()));
    use.storage = make_storage(handles, record->lane, bytes, &mailbox[fresh_at_[fresh++]]);
  }
  push(*record);
  return Answer::ok;
}

/// A record that writes one fresh row of bytes.
Answer Device::make_bytes(HandleTable& handles, Record& record, uint64_t bytes, double* handle) {
  if (!handles.has_room(1)) return Answer::handles_exhausted;
  TensorView& view = record.views.append();
  view = {};
  view.dtype = DType::u8;
  view.rank = 1;
  view.shape[0] = static_cast<int64_t>(bytes);
  view.strides[0] = 1;
  record.uses.append() = {make_storage(handles, record.lane, bytes, handle), 0, true, true};
  push(record);
  return Answer::ok;
}

// Uploads go over the compute lane: they are small next to kernels, need no waits there, and are not held up by the
// files that the transfer lane reads.
Answer Device::upload(HandleTable& handles, const void* bytes, size_t count, double* handle) {
  Record* record = nullptr;
  if (const Answer answer = draft(kComputeLane, RecordKind::upload, &record); answer != Answer::ok) return answer;
  const uint64_t waiting = staging_.load(std::memory_order_relaxed);
  if (waiting > 0 && waiting + count > kStagingBound) return Answer::queue_full;
  if (!handles.has_room(1)) return Answer::handles_exhausted;
  void* copy = std::malloc(count > 0 ? count : 1);
  if (!copy) return Answer::no_host_memory;
  if (count > 0) std::memcpy(copy, bytes, count);
  staging_.fetch_add(count, std::memory_order_relaxed);
  record->host = copy;
  record->bytes = count;
  return make_bytes(handles, *record, count, handle);
}

Answer Device::read_file(HandleTable& handles, FileRange range, uint64_t total, double* handle) {
  Storage* into = *handle == 0 ? nullptr : handles.find(*handle);
  if (*handle != 0 && !into) return Answer::disposed;
  if (into && into->device != this) return Answer::wrong_device;
  const uint64_t room = into ? into->bytes : total;
  if (range.storage_offset > room || range.bytes > room - range.storage_offset) return Answer::out_of_bounds;
  Record* record = nullptr;
  if (const Answer answer = draft(kTransferLane, RecordKind::read_file, &record); answer != Answer::ok) return answer;
  record->path = std::move(range.path);
  record->label = std::move(range.label);
  record->offset = range.offset;
  record->bytes = range.bytes;
  record->storage_offset = range.storage_offset;
  if (!into) return make_bytes(handles, *record, total, handle);
  record->uses.append() = {into, 0, false, true};
  push(*record);
  return Answer::ok;
}

/// On the lane that wrote the tensor last: most reads then wait for nothing but their own lane.
Answer Device::download(HandleTable& handles, double handle, uint64_t offset, void* into, size_t bytes,
                        uint64_t* ticket) {
  Storage* storage = handles.find(handle);
  if (!storage) return Answer::disposed;
  if (storage->device != this) return Answer::wrong_device;
  if (offset > storage->bytes || bytes > storage->bytes - offset) return Answer::out_of_bounds;
  Record* record = nullptr;
  if (const Answer answer = draft(storage->write_lane, RecordKind::download, &record); answer != Answer::ok)
    return answer;
  record->host = into;
  record->offset = offset;
  record->bytes = bytes;
  record->uses.append() = {storage, 0, false, false};
  push(*record);
  *ticket = record->order;
  return Answer::ok;
}

Answer Device::sync(uint64_t* ticket) {
  Record* record = nullptr;
  if (const Answer answer = draft(kComputeLane, RecordKind::sync, &record); answer != Answer::ok) return answer;
  record->wait_seq = lanes_[kTransferLane].queue.pushed();
  push(*record);
  *ticket = record->order;
  return Answer::ok;
}

}  // namespace hn
