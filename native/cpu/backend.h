// The CPU backend: always there, and the reference of every test. Kernels are compiled once for each instruction set;
// the best that the processor has is chosen when the first device is opened.
#pragma once

#include <cstdint>
#include <span>

#include "core/backend.h"
#include "cpu/context.h"

namespace hn::cpu {

using KernelFn = Status (*)(Context&, const OpCall&);

// Each instruction set's native/cpu/kernels/table.cc: one kernel an op.
#define HN_DECLARE_ISA(isa)         \
  namespace isa {                   \
  extern const KernelFn kKernels[]; \
  }
HN_DECLARE_ISA(portable)
HN_DECLARE_ISA(avx2)
HN_DECLARE_ISA(avx512)
#undef HN_DECLARE_ISA

struct Isa {
  const char* name;
  const KernelFn* kernels;
  bool (*present)();  // whether this processor has it
};

/// All that this build has kernels for, best first.
std::span<const Isa> isas();

}  // namespace hn::cpu

namespace hn {

const BackendTable* cpu_backend_table();

}  // namespace hn
