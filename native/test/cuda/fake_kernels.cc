// What stands for the table of kernels (cuda/table.h): the fake backend's few, put on the fake runtime's streams, and
// two that go wrong after the launch has answered.
#include "test/cuda/fake_kernels.h"

#include <vector>

#include "cuda/table.h"
#include "test/cuda/fake_runtime.h"
#include "test/fake_backend.h"

namespace hn::cuda {

bool supports(uint32_t, DType) { return true; }

Status launch(const Context& ctx, const OpCall& call) {
  using namespace test;
  const int kernel = static_cast<int>(call.attrs[0]);
  const auto addend = static_cast<int64_t>(call.attrs[1]);
  const TensorView* const tensors = call.tensors;
  const std::vector<TensorView> inputs(tensors, tensors + call.arg_counts[0]);
  const std::vector<TensorView> outputs(tensors + call.arg_counts[0],
                                        tensors + call.arg_counts[0] + call.arg_counts[1]);
  if (kernel == kFail) return Status::invalid("told to fail");
  FaultWord fault;
  if (kernel == kMayRefuse || kernel == kRefuse) fault = ctx.fault();
  const Stream stream = ctx.stream();
  enqueue(stream, [=] {
    if (kernel == kCrash) break_gpu(stream, cudaErrorIllegalAddress);
    if (kernel == kRefuse && *fault.word == 0) *fault.word = fault.launch | static_cast<uint64_t>(DataError::index);
    for (const TensorView& out : outputs) {
      for (int64_t i = 0; i < out.elements(); ++i) {
        int64_t sum = addend + (kernel == kAddInPlace ? out.as<int64_t>()[i] : 0);
        for (const TensorView& in : inputs) sum += in.as<int64_t>()[i];
        out.as<int64_t>()[i] = sum;
      }
    }
  });
  return {};
}

}  // namespace hn::cuda
