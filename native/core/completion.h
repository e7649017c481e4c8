// Tells the end of reads and syncs. A thread of its own waits for the device, so that neither the submitting thread nor
// the lanes do.
#pragma once

#include <deque>

#include "core/backend.h"
#include "core/error.h"
#include "core/platform/threads.h"

namespace hn {

struct Completion {
  uint64_t ticket = 0;
  ErrorPtr error;          // null when all went well
  const char* op = "";     // "read" or "sync"
  uint64_t checked = 0;    // of the storage that was read
  bool tells_all = false;  // a sync: tells what no read has told
};

/// Looks at what is known only when the device has come so far.
struct Settle {
  void* self = nullptr;
  void (*look)(void* self, Completion& completion) = nullptr;
};

/// Where completions go; called from the device's threads, possibly several at once.
struct CompletionSink {
  void* self = nullptr;
  void (*deliver)(void* self, Completion&& completion) = nullptr;
};

class CompletionThread {
 public:
  CompletionThread(const BackendTable& table, void* device, Settle settle, CompletionSink sink)
      : table_(table), device_(device), settle_(settle), sink_(sink) {}
  ~CompletionThread() { stop(); }

  /// Delivers when `event` is reached, in the order of the calls; takes the event over. A null event is reached
  /// already.
  void push(void* event, Completion&& completion);
  /// Delivers what is still waiting, then ends the thread.
  void stop();

 private:
  struct Waiting {
    void* event;
    Completion completion;
  };

  void run();
  void finish(Waiting& waiting);

  const BackendTable& table_;
  void* const device_;
  const Settle settle_;
  const CompletionSink sink_;
  platform::Mutex mutex_;
  platform::CondVar changed_;
  std::deque<Waiting> queue_;
  bool stopping_ = false;
  platform::Thread thread_;
};

}  // namespace hn
