#include "cuda/driver.h"

#include <cuda_runtime_api.h>

#include <cstdlib>

#include "core/platform/file.h"
#include "cuda/errors.h"

namespace hn::cuda {
namespace {

// The driver's branch that came with each major version of CUDA: within one, newer runtimes work on older drivers.
static_assert(CUDART_VERSION >= 12000 && CUDART_VERSION < 14000, "say which driver this version of CUDA needs");
constexpr int kLeastDriver = CUDART_VERSION >= 13000 ? 580 : 525;

std::string needs() { return "this build needs " + std::to_string(kLeastDriver) + " or newer"; }

std::string show_cuda(int version) {
  return "CUDA " + std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

bool is_version(const std::string& word) {
  return word.find('.') != std::string::npos && word.find_first_not_of("0123456789.") == std::string::npos;
}

/// "580.65.06", the first such word of the kernel module's report; "" where there is no module.
std::string module_version() {
  platform::File file;
  std::string why, word;
  if (!file.open("/proc/driver/nvidia/version", &why)) return "";
  char c = 0;
  for (uint64_t at = 0; file.read(&c, 1, at, &why); ++at) {
    if (c != ' ' && c != '\n' && c != '\t') {
      word += c;
    } else if (is_version(word)) {
      return word;
    } else {
      word.clear();
    }
  }
  return "";
}

/// What CUDA the driver speaks: 13000 for 13.0; 0 when it was not found.
int driver_cuda() {
  int version = 0;
  return cudaDriverGetVersion(&version) == cudaSuccess ? version : 0;
}

std::string name_driver() {
  const std::string version = module_version();
  return "the NVIDIA driver" + (version.empty() ? "" : " " + version);
}

std::string why_none(cudaError_t error) {
  const int cuda = driver_cuda();
  if (cuda == 0) {
    const std::string version = module_version();
    if (version.empty()) {
      return "no NVIDIA driver is installed here (no libcuda.so.1 and no kernel module); " + needs();
    }
    return "driver " + version + " runs on this machine, but libcuda.so.1 was not found; in a container, start it " +
           "with its GPUs (docker run --gpus all); " + needs();
  }
  if (error == cudaErrorInsufficientDriver) {
    return name_driver() + " is too old: it speaks " + show_cuda(cuda) + ", and " + needs() + " (" +
           show_cuda(CUDART_VERSION) + ")";
  }
  if (error == cudaErrorNoDevice) {
    const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
    const std::string hidden = visible ? "; CUDA_VISIBLE_DEVICES is \"" + std::string(visible) + "\"" : "";
    return name_driver() + " is here, but shows no GPU" + hidden;
  }
  return name_driver() + " cannot start CUDA: " + cudaGetErrorString(error);
}

}  // namespace

std::string show_capability(int capability) {
  return std::to_string(capability / 10) + "." + std::to_string(capability % 10);
}

std::string describe_driver() {
  const std::string version = module_version();
  return (version.empty() ? "" : version + ", ") + show_cuda(driver_cuda()) + "; " + needs();
}

int32_t count_devices(const char** reason) {
  *reason = "";
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  (void)cudaGetLastError();
  if (error != cudaSuccess || count == 0) {
    *reason = kept(why_none(error == cudaSuccess ? cudaErrorNoDevice : error));
    return 0;
  }
  int best = 0;
  for (int device = 0; device < count; ++device) {
    int major = 0, minor = 0;
    (void)cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
    (void)cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device);
    best = best > 10 * major + minor ? best : 10 * major + minor;
  }
  if (best >= kLeastCapability) return count;
  *reason = kept("the GPU has compute capability " + show_capability(best) + "; there are kernels from " +
                 show_capability(kLeastCapability) + " on (A100, GeForce 30 and newer)");
  return 0;
}

}  // namespace hn::cuda
