// A device: its memory, its two lanes with a thread each, and the way from a submitted record to its completion.
//
// Life of a record: `submit` (submit.cc) checks it, makes the storages of fresh outputs and pushes it on its lane; the
// lane's thread (execute.cc) waits for what the other lane must have issued, allocates outputs, launches, and drops the
// record's references; reads and syncs end in a completion. One thread submits; it is called the submitting thread.
#pragma once

#include <algorithm>
#include <span>

#include "core/completion.h"
#include "core/fault_log.h"
#include "core/handle_table.h"
#include "core/lane_queue.h"
#include "core/recorder.h"

namespace hn {

/// Why a call was refused before anything was queued. addon/status_codes.h gives these numbers to TypeScript.
enum class Answer : int32_t {
  ok,
  bad_argument,
  disposed,
  device_gone,
  wrong_device,
  out_of_bounds,
  queue_full,
  handles_exhausted,
  no_host_memory,
};

struct DeviceCounters {
  MemoryCounters memory;
  uint64_t handles;
  uint64_t pending;  // records not yet issued
  uint64_t staging;  // host bytes waiting for upload
};

/// Bytes of a file, and where in a storage they go. `label` tells a person which tensor they are.
struct FileRange {
  std::string path;
  std::string label;
  uint64_t offset = 0;
  uint64_t bytes = 0;
  uint64_t storage_offset = 0;
};

class Device {
 public:
  /// Host bytes that may wait for upload; one upload is always accepted when none waits.
  static constexpr uint64_t kStagingBound = uint64_t{256} << 20;

  /// `limit` 0 takes the backend's default.
  static Status open(const BackendTable& table, int32_t index, uint64_t limit, CompletionSink sink,
                     std::unique_ptr<Device>* out);
  /// Closes, waiting for the running ops. All handles of the device must be gone by then.
  ~Device() { close(); }

  // ---- The submitting thread: submit.cc ----
  /// Reads one record from the mailbox (layout: lib/runtime/mailbox.ts) and queues it; writes the handles of fresh
  /// outputs back in place. When refused, mailbox[0], [1] name the argument and its tensor; -1 when none is at fault.
  Answer submit(HandleTable& handles, std::span<double> mailbox);
  /// Copies the bytes and queues their upload.
  Answer upload(HandleTable& handles, const void* bytes, size_t count, double* handle);
  /// Fills part of a storage from a file: of a fresh one of `total` bytes when *handle is 0, else of the one it names.
  Answer read_file(HandleTable& handles, FileRange range, uint64_t total, double* handle);
  /// `into` must live until the ticket's completion is delivered.
  Answer download(HandleTable& handles, double handle, uint64_t offset, void* into, size_t bytes, uint64_t* ticket);
  Answer sync(uint64_t* ticket);
  void count_handles(int change) { handles_ += static_cast<uint64_t>(change); }

  // ---- The submitting thread: abort.cc ----
  /// Cancels what is queued and not started: of a sync's ticket all records before it, of a read's ticket those that
  /// lead to its tensor and to nothing else that is queued. False when the ticket is not waiting in a queue (any more).
  bool abort(uint64_t ticket);

  // ---- The submitting thread: device.cc ----
  /// Refuses further work and drops what is queued; does not wait.
  void stop();
  DeviceCounters counters() const;

  // ---- Any thread ----
  /// After stop(): waits for the running ops, then frees everything. Only the first call does anything; no two at a
  /// time.
  void close();
  Allocator& memory() { return memory_; }
  const BackendTable& table() const { return table_; }
  DeviceInfo describe() const;

 private:
  friend class Execution;

  Device(const BackendTable& table, void* device, uint64_t limit, CompletionSink sink, Recorder* recorder);

  // submit.cc
  Answer draft(Lane lane, RecordKind kind, Record** out);
  Answer make_bytes(HandleTable& handles, Record& record, uint64_t bytes, double* handle);
  Storage* make_storage(HandleTable& handles, Lane lane, uint64_t bytes, double* handle);
  void order(Record& record, const TensorUse& use);
  void push(Record& record);
  bool start_lane(Lane lane);  // device.cc

  // execute.cc
  void run_lane(Lane lane);
  void remember(uint64_t order, const ErrorPtr& error);
  void forget(const ErrorPtr& error);
  /// The first untold error of the records before this one; from then on all of them count as told.
  ErrorPtr take_first_error(uint64_t before);
  void settle(Completion& completion);

  struct LaneState {
    Device* device = nullptr;
    Lane lane = kComputeLane;
    LaneQueue queue;
    platform::Thread thread;
    uint64_t other_seen = 0;  // lane's thread: this lane already waits for the other one up to here
  };

  const BackendTable& table_;
  void* const device_;
  Allocator memory_;
  CompletionThread completions_;
  Recorder* const recorder_;  // null unless op calls are to be recorded
  LaneState lanes_[kLaneCount];
  const ErrorPtr aborted_, closed_;  // shared by all that they hit

  std::vector<size_t> fresh_at_;  // submit's scratch: where in the mailbox handles of fresh outputs go
  uint64_t order_ = 0;
  uint64_t handles_ = 0;
  bool stopped_ = false;
  bool closed_down_ = false;
  std::atomic<uint64_t> staging_{0};

  platform::Mutex errors_mutex_;
  std::vector<std::pair<uint64_t, ErrorPtr>> unreported_;  // failures (by order) that no read has told yet
  platform::Mutex faults_mutex_;                           // from asking the backend to the entry in the log
  FaultLog faults_;
};

}  // namespace hn
