#include "core/completion.h"

namespace hn {

void CompletionThread::push(void* event, Completion&& completion) {
  Waiting waiting{event, std::move(completion)};
  if (event) {
    platform::Lock lock(mutex_);
    auto entry = [](void* self) { static_cast<CompletionThread*>(self)->run(); };
    if (thread_.running() || thread_.start(entry, this)) {
      queue_.push_back(std::move(waiting));
      lock.unlock();
      changed_.notify_one();
      return;
    }
  }
  finish(waiting);  // reached already, or no thread could be had: then this lane waits itself
}

void CompletionThread::stop() {
  {
    platform::Lock lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_one();
  thread_.join();
}

void CompletionThread::run() {
  platform::set_thread_name("hn-completion");
  platform::Lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return stopping_ || !queue_.empty(); });
    if (queue_.empty()) return;
    Waiting waiting = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    finish(waiting);
    lock.lock();
  }
}

void CompletionThread::finish(Waiting& waiting) {
  if (waiting.event) {
    const Status status = table_.event_wait(device_, waiting.event);
    table_.event_free(device_, waiting.event);
    if (!status.ok() && !waiting.completion.error) {
      const std::string op = waiting.completion.op;
      waiting.completion.error = make_error(status.code, op, op + ": " + status.message);
    }
  }
  settle_.look(settle_.self, waiting.completion);
  sink_.deliver(sink_.self, std::move(waiting.completion));
}

}  // namespace hn
