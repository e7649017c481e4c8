// The kernels of this instruction set, in the order of the op ids. An op that is declared but not defined here fails
// when the addon is linked.
#include "core/generated/ops.h"
#include "cpu/backend.h"
#include "cpu/context.h"

namespace hn::cpu::HN_ISA {

#define HN_DECLARE(name, Args) Status name(const Context& ctx, const Args& args);
HN_FOR_EACH_OP(HN_DECLARE)
#undef HN_DECLARE

namespace {

#define HN_THUNK(name, Args) \
  Status call_##name(Context& ctx, const OpCall& call) { return name(ctx, decode_##name(call)); }
HN_FOR_EACH_OP(HN_THUNK)
#undef HN_THUNK

}  // namespace

extern const KernelFn kKernels[] = {
#define HN_ENTRY(name, Args) call_##name,
    HN_FOR_EACH_OP(HN_ENTRY)
#undef HN_ENTRY
};

}  // namespace hn::cpu::HN_ISA
