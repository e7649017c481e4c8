// What the lanes' threads do with records.

#include <algorithm>
#include <cstdlib>

#include "core/device.h"
#include "core/generated/ops.h"
#include "core/platform/file.h"

namespace hn {
namespace {

constexpr size_t kFilePart = size_t{1} << 20;  // stays in the second-level cache between reading and uploading

const char* name_of(const Record& record) {
  switch (record.kind) {
    case RecordKind::launch:
      return kOpNames[record.op];
    case RecordKind::upload:
      return "upload";
    case RecordKind::read_file:
      return "read_file";
    case RecordKind::download:
      return "read";
    case RecordKind::sync:
      return "sync";
  }
  return "";
}

}  // namespace

/// One record on its way through the device.
class Execution {
 public:
  Execution(Device& device, Lane lane, Record& record) : device_(device), lane_(lane), record_(record) {}

  void run();

 private:
  void wait_for_other_lane();
  void skip(const ErrorPtr& why);
  void launch();
  void upload();
  void read_file();
  void download();
  void sync();

  Status allocate_outputs();
  void place_views();
  bool nothing_to_write() const;
  bool guards_intact();
  ErrorPtr input_error() const;
  void fail(Code code, std::string reason);
  void fail(const Status& status) { fail(status.code, describe(status)); }
  std::string describe(const Status& status) const;
  void complete(ErrorPtr error, bool wait, uint64_t checked = 0);
  void free_staging();
  static void* workspace(void* self, size_t bytes);
  static void checks_data(void* self) { static_cast<Execution*>(self)->checks_data_ = true; }
  void inherit_checks();

  Device& device_;
  const Lane lane_;
  Record& record_;
  std::vector<Block> workspaces_;
  uint64_t asked_ = 0;     // bytes of the allocation that failed
  std::string asked_for_;  // and what for
  bool checks_data_ = false;
};

void Device::run_lane(Lane lane) {
  platform::set_thread_name(lane == kComputeLane ? "hn-compute" : "hn-transfer");
  LaneQueue& queue = lanes_[lane].queue;
  while (Record* record = queue.wait_next()) {
    Execution(*this, lane, *record).run();
    for (TensorUse& use : record->uses) release(use.storage);
    queue.mark_issued();
  }
}

void Execution::run() {
  // A record that will be skipped waits too: later records of this lane rely on what it has waited for.
  wait_for_other_lane();
  device_.faults_.begin(lane_, record_.order);
  if (device_.lanes_[lane_].queue.stopping()) return skip(device_.closed_);
  if (record_.cancelled.load(std::memory_order_relaxed)) return skip(device_.aborted_);
  switch (record_.kind) {
    case RecordKind::launch:
      return launch();
    case RecordKind::upload:
      return upload();
    case RecordKind::read_file:
      return read_file();
    case RecordKind::download:
      return download();
    case RecordKind::sync:
      return sync();
  }
}

void Execution::wait_for_other_lane() {
  Device::LaneState& mine = device_.lanes_[lane_];
  if (record_.wait_seq <= mine.other_seen) return;
  const Lane other = lane_ == kComputeLane ? kTransferLane : kComputeLane;
  LaneQueue& queue = device_.lanes_[other].queue;
  queue.wait_issued(record_.wait_seq);
  mine.other_seen = queue.issued();
  // A failure means that the device is lost; the launch that follows, or the next wait, tells it.
  void* event = nullptr;
  if (!device_.table_.event_record(device_.device_, other, &event).ok() || !event) return;
  (void)device_.table_.lane_wait(device_.device_, lane_, event).ok();
  device_.table_.event_free(device_.device_, event);
}

/// Fresh outputs get the error; storages that existed before keep their old contents and stay valid.
void Execution::skip(const ErrorPtr& why) {
  for (TensorUse& use : record_.uses) {
    if (use.fresh) use.storage->error = why;
  }
  if (record_.kind == RecordKind::upload) free_staging();
  if (record_.kind == RecordKind::download || record_.kind == RecordKind::sync) complete(why, false);
}

ErrorPtr Execution::input_error() const {
  for (const TensorUse& use : record_.uses) {
    if (use.fresh) continue;
    if (use.storage->error) return use.storage->error;
    if (ErrorPtr fault = device_.faults_.find(use.storage->checked)) return fault;
  }
  return nullptr;
}

/// What is written depends on all that the record uses.
void Execution::inherit_checks() {
  uint64_t checked = checks_data_ ? record_.order : 0;
  for (const TensorUse& use : record_.uses) checked = std::max(checked, use.storage->checked);
  for (const TensorUse& use : record_.uses) {
    if (use.written) use.storage->checked = checked;
  }
}

Status Execution::allocate_outputs() {
  for (size_t i = 0; i < record_.uses.size(); ++i) {
    const TensorUse& use = record_.uses[i];
    if (!use.fresh) continue;
    const Status status = device_.memory_.allocate(lane_, use.storage->bytes, &use.storage->block);
    if (!status.ok()) {
      asked_ = use.storage->bytes;
      asked_for_ = "output " + format_tensor(record_.views[i]);
      return status;
    }
  }
  return {};
}

void Execution::place_views() {
  for (size_t i = 0; i < record_.uses.size(); ++i) {
    TensorView& view = record_.views[i];
    view.data = record_.uses[i].storage->block.data;
    view.data = view.at(record_.uses[i].offset);
  }
}

/// Whether all that the op writes is empty: [2^44, 0] has rows without end, and a kernel would walk them.
bool Execution::nothing_to_write() const {
  for (size_t i = 0; i < record_.uses.size(); ++i) {
    if (record_.uses[i].written && record_.views[i].elements() != 0) return false;
  }
  return true;
}

/// Looks right after the launch, while it is known whose doing it is. All blocks are looked at: each damage counts.
bool Execution::guards_intact() {
  Allocator& memory = device_.memory_;
  bool intact = true;
  if (!memory.guarded()) return intact;
  for (const TensorUse& use : record_.uses) intact &= memory.check_guards(use.storage->block);
  for (const Block& block : workspaces_) intact &= memory.check_guards(block);
  return intact;
}

void* Execution::workspace(void* self, size_t bytes) {
  auto& run = *static_cast<Execution*>(self);
  Block block;
  if (!run.device_.memory_.allocate_workspace(run.lane_, bytes, &block).ok()) {
    run.asked_ = bytes;
    run.asked_for_ = "workspace";
    return nullptr;
  }
  run.workspaces_.push_back(block);
  return block.data;
}

void Execution::launch() {
  if (const ErrorPtr error = input_error()) return skip(error);
  if (const Status status = allocate_outputs(); !status.ok()) return fail(status);
  place_views();
  if (nothing_to_write()) return;
  const OpCall call{record_.op,
                    static_cast<uint32_t>(record_.arg_counts.size()),
                    record_.arg_counts.data(),
                    record_.views.data(),
                    record_.attrs.data(),
                    static_cast<uint32_t>(record_.attrs.size())};
  const LaunchHost host{this, &Execution::workspace, record_.order, &Execution::checks_data};
  std::string recorded;
  if (device_.recorder_) recorded = device_.recorder_->begin(kOpNames[record_.op], record_);
  Status status = device_.table_.launch(device_.device_, lane_, &host, &call);
  inherit_checks();
  if (device_.recorder_ && status.ok()) device_.recorder_->end(std::move(recorded), record_);
  if (!guards_intact()) status = {Code::device_error, "the kernel wrote beside its tensors or its workspace"};
  for (const Block& block : workspaces_) device_.memory_.release_workspace(lane_, block);
  if (!status.ok()) fail(status);
}

void Execution::upload() {
  Status status = allocate_outputs();
  if (status.ok()) {
    status =
        device_.table_.upload(device_.device_, lane_, record_.uses[0].storage->block.data, record_.host, record_.bytes);
  }
  free_staging();
  if (!status.ok()) fail(status);
}

void Execution::free_staging() {
  std::free(record_.host);
  record_.host = nullptr;
  device_.staging_.fetch_sub(record_.bytes, std::memory_order_relaxed);
}

void Execution::read_file() {
  if (const Status status = allocate_outputs(); !status.ok()) return fail(status);
  std::string why;
  platform::File file;
  if (!file.open(record_.path.c_str(), &why)) {
    return fail(Code::file_error, record_.label + ": cannot open " + record_.path + ": " + why);
  }
  const size_t part = std::min(kFilePart, record_.bytes);
  const std::unique_ptr<char, void (*)(void*)> buffer(static_cast<char*>(std::malloc(part + 1)), std::free);
  if (!buffer) return fail(Code::out_of_memory, "read_file: the host has no memory for a buffer");
  char* to = static_cast<char*>(record_.uses[0].storage->block.data) + record_.storage_offset;
  for (size_t done = 0; done < record_.bytes;) {
    if (device_.lanes_[lane_].queue.stopping()) return skip(device_.closed_);  // a file may be many gigabytes
    if (record_.cancelled.load(std::memory_order_relaxed)) return skip(device_.aborted_);
    const size_t now = std::min(part, record_.bytes - done);
    if (!file.read(buffer.get(), now, record_.offset + done, &why)) {
      return fail(Code::file_error, record_.label + ": cannot read " + format_bytes(record_.bytes) + " at byte " +
                                        std::to_string(record_.offset) + " of " + record_.path + ": " + why);
    }
    const Status status = device_.table_.upload(device_.device_, lane_, to + done, buffer.get(), now);
    if (!status.ok()) return fail(status);
    done += now;
  }
}

void Execution::download() {
  Storage& storage = *record_.uses[0].storage;
  if (const ErrorPtr error = input_error()) {
    device_.forget(error);
    return complete(error, false);
  }
  const char* from = static_cast<const char*>(storage.block.data) + record_.offset;
  Status status;
  if (record_.bytes > 0) status = device_.table_.download(device_.device_, lane_, record_.host, from, record_.bytes);
  complete(status.ok() ? nullptr : make_error(status.code, name_of(record_), describe(status)), true, storage.checked);
}

void Execution::sync() { complete(device_.take_first_error(record_.order), true); }

/// Tells the end of a read or sync, once the lane has come this far when `wait` is set.
void Execution::complete(ErrorPtr error, bool wait, uint64_t checked) {
  void* event = nullptr;
  if (wait) {
    const Status status = device_.table_.event_record(device_.device_, lane_, &event);
    if (!status.ok() && !error) error = make_error(status.code, name_of(record_), describe(status));
  }
  // The errors that many records share name no op: this wait is the one to name.
  if (error && error->op.empty()) {
    error = make_error(error->code, name_of(record_), std::string(name_of(record_)) + ": " + error->message);
  }
  const bool tells_all = record_.kind == RecordKind::sync;
  device_.completions_.push(event, {record_.order, std::move(error), name_of(record_), checked, tells_all});
}

/// When the lane has come as far as a read or sync: faults that kernels have found by then are entered, and told.
void Device::settle(Completion& completion) {
  {
    platform::Lock lock(faults_mutex_);
    for (DataFault fault; table_.take_fault(device_, &fault);) {
      const std::string op = kOpNames[fault.op];
      const ErrorPtr error = make_error(fault.status.code, op, op + ": " + fault.status.message);
      remember(fault.order, error);
      faults_.add(fault.order, error);
    }
  }
  if (completion.error) return;
  if (completion.tells_all) {
    completion.error = take_first_error(completion.ticket);
  } else if ((completion.error = faults_.find(completion.checked))) {
    forget(completion.error);
  }
}

void Execution::fail(Code code, std::string reason) {
  const ErrorPtr error = make_error(code, name_of(record_), std::move(reason));
  for (TensorUse& use : record_.uses) {
    if (use.written) use.storage->error = error;
    if (!use.fresh) continue;
    // Nobody will look at the contents: the memory need not wait for the tensor's disposal.
    device_.memory_.release(lane_, 0, use.storage->block);
    use.storage->block = {};
  }
  device_.remember(record_.order, error);
}

std::string Execution::describe(const Status& status) const {
  std::string text = std::string(name_of(record_)) + ": " + status.message;
  if (status.code == Code::out_of_memory && asked_ > 0) {
    const MemoryCounters now = device_.memory_.counters();
    return text + ": needs " + format_bytes(asked_) + " for " + asked_for_ + " (live " + format_bytes(now.live) +
           ", limit " + format_bytes(now.limit) +
           "); dispose of tensors earlier, use smaller shapes, or open the device " + "with a larger memoryLimit";
  }
  for (size_t i = 0; i < record_.views.size() && record_.kind == RecordKind::launch; ++i) {
    if (i == 8) return text + ", and " + std::to_string(record_.views.size() - i) + " more";
    text += (i == 0 ? "; tensors " : ", ") + format_tensor(record_.views[i]);
  }
  return text;
}

void Device::remember(uint64_t order, const ErrorPtr& error) {
  constexpr size_t kMost = 16;  // a loop of failing ops must not fill the memory; the first is what a sync tells
  platform::Lock lock(errors_mutex_);
  if (unreported_.size() < kMost) unreported_.emplace_back(order, error);
}

void Device::forget(const ErrorPtr& error) {
  platform::Lock lock(errors_mutex_);
  std::erase_if(unreported_, [&](const auto& entry) { return entry.second == error; });
}

ErrorPtr Device::take_first_error(uint64_t before) {
  platform::Lock lock(errors_mutex_);
  ErrorPtr first;
  uint64_t order = before;
  for (const auto& entry : unreported_) {
    if (entry.first >= order) continue;
    order = entry.first;
    first = entry.second;
  }
  std::erase_if(unreported_, [&](const auto& entry) { return entry.first < before; });
  if (!first && memory_.take_unexplained_violations() != 0) {
    return make_error(Code::device_error, "", "something wrote beside a block of memory since the last sync");
  }
  return first;
}

}  // namespace hn
