#include "cuda/table.h"

#include "core/generated/ops.h"
#include "cuda/support.h"

namespace hn::cuda {

#define HN_DECLARE(name, Args)                       \
  Status name(const Context& ctx, const Args& args); \
  extern const DTypeSet supports_##name;
HN_FOR_EACH_OP(HN_DECLARE)
#undef HN_DECLARE

namespace {

using KernelFn = Status (*)(const Context&, const OpCall&);

#define HN_THUNK(name, Args) \
  Status call_##name(const Context& ctx, const OpCall& call) { return name(ctx, decode_##name(call)); }
HN_FOR_EACH_OP(HN_THUNK)
#undef HN_THUNK

constexpr KernelFn kKernels[] = {
#define HN_ENTRY(name, Args) call_##name,
    HN_FOR_EACH_OP(HN_ENTRY)
#undef HN_ENTRY
};

constexpr const DTypeSet* kSupport[] = {
#define HN_ENTRY(name, Args) &supports_##name,
    HN_FOR_EACH_OP(HN_ENTRY)
#undef HN_ENTRY
};

/// Type of the first tensor that the call has.
bool first_dtype(const OpCall& call, DType* out) {
  for (uint32_t i = 0; i < call.arg_count; ++i) {
    if (call.arg_counts[i] == 0) continue;
    *out = call.tensors[0].dtype;
    return true;
  }
  return false;
}

}  // namespace

bool supports(uint32_t op, DType dtype) { return op < kOpCount && kSupport[op]->has(dtype); }

Status launch(const Context& ctx, const OpCall& call) {
  DType dtype;
  if (call.op >= kOpCount) return Status::invalid("no such op");
  if (first_dtype(call, &dtype) && !supports(call.op, dtype)) {
    return Status::missing("there is no CUDA kernel for this op at this type; the CPU backend has one");
  }
  return kKernels[call.op](ctx, call);
}

}  // namespace hn::cuda
