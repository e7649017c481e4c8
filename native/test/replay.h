// Makes a recorded call again with the kernels of any of the CPU's instruction sets.
#pragma once

#include <string>

#include "cpu/backend.h"
#include "test/case_file.h"

namespace hn::test {

/// What went wrong, "" when nothing did.
std::string replay(const Case& recorded, const cpu::KernelFn* kernels, cpu::ThreadPool& pool);

}  // namespace hn::test
