// The NVIDIA driver of this machine: its version, the least that this build works with, and why there is no GPU when
// there is none. The runtime is linked statically and looks for libcuda.so.1 itself, so all of this works without one.
#pragma once

#include <cstdint>
#include <string>

namespace hn::cuda {

/// The least compute capability that there are kernels for: 10 · major + minor.
constexpr int kLeastCapability = 80;

/// Number of GPUs, as CUDA counts them. 0 when none of them can be used, and why.
int32_t count_devices(const char** reason);

/// "580.65.06, CUDA 13.0; this build needs 580 or newer".
std::string describe_driver();

/// "8.0"
std::string show_capability(int capability);

}  // namespace hn::cuda
