#include "core/device.h"

#include <cstdlib>

namespace hn {

Status Device::open(const BackendTable& table, int32_t index, uint64_t limit, CompletionSink sink,
                    std::unique_ptr<Device>* out) {
  Recorder* recorder = nullptr;
  HN_RETURN_IF_ERROR(Recorder::find(table, &recorder));
  void* device = nullptr;
  HN_RETURN_IF_ERROR(table.open(index, &device));
  if (limit == 0) {
    DeviceInfo info{};
    table.describe(device, &info);
    limit = info.default_limit_bytes;
  }
  out->reset(new Device(table, device, limit, sink, recorder));
  return {};
}

Device::Device(const BackendTable& table, void* device, uint64_t limit, CompletionSink sink, Recorder* recorder)
    : table_(table),
      device_(device),
      memory_(table, device, limit),
      completions_(table, device,
                   {this, [](void* self, Completion& completion) { static_cast<Device*>(self)->settle(completion); }},
                   sink),
      recorder_(recorder),
      aborted_(make_error(Code::aborted, "", "aborted")),
      closed_(make_error(Code::disposed, "", "the device was closed")) {
  for (int lane = 0; lane < kLaneCount; ++lane) {
    lanes_[lane].device = this;
    lanes_[lane].lane = static_cast<Lane>(lane);
  }
}

// Threads start with the first record of their lane: a device that only reads files, or none, has few.
bool Device::start_lane(Lane lane) {
  LaneState& state = lanes_[lane];
  if (state.thread.running()) return true;
  return state.thread.start(
      [](void* arg) {
        auto* self = static_cast<LaneState*>(arg);
        self->device->run_lane(self->lane);
      },
      &state);
}

void Device::stop() {
  stopped_ = true;
  for (LaneState& lane : lanes_) lane.queue.stop();
}

void Device::close() {
  if (closed_down_) return;
  closed_down_ = true;
  for (LaneState& lane : lanes_) lane.queue.stop();
  for (LaneState& lane : lanes_) lane.thread.join();
  completions_.stop();
  memory_.trim();
  table_.close(device_);
}

DeviceCounters Device::counters() const {
  uint64_t pending = 0;
  for (const LaneState& lane : lanes_) pending += lane.queue.pushed() - lane.queue.issued();
  return {memory_.counters(), handles_, pending, staging_.load(std::memory_order_relaxed)};
}

DeviceInfo Device::describe() const {
  DeviceInfo info{};
  table_.describe(device_, &info);
  return info;
}

}  // namespace hn
