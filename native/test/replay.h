// Makes a recorded call again with the kernels of any instruction set, in memory where a sanitizer sees each byte too
// many: every tensor and every workspace is a heap block of exactly its extent, at the address's old remainder by 64.
#pragma once

#include <string>

#include "cpu/backend.h"
#include "test/case_file.h"

namespace hn::test {

/// What went wrong, "" when nothing did.
std::string replay(const Case& recorded, const cpu::KernelFn* kernels, cpu::ThreadPool& pool);

/// Compares what a call wrote with what it wrote when it was recorded; "" when it agrees. Integers and truth values
/// must be the same; floats may differ by a few roundings of the largest value, since instruction sets add in different
/// orders.
std::string compare(const RecordedUse& use, const char* got);

}  // namespace hn::test
