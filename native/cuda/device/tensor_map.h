// Tensor maps: what TMA is told of a tensor in global memory and of the tile that it moves. Made on the host and given
// to the kernel as `const __grid_constant__ TensorMap`.
#pragma once

#include <cstdint>

#include "core/status.h"

#if defined(HN_SIMT)
#include "simt/kernel_api_sm90.h"
#else
#include <cuda.h>
#include <cuda_runtime.h>
#endif

namespace hn::cuda {

/// Innermost dimension first. Strides are in bytes, multiples of 16, from the second dimension on. A row of the tile
/// has as many bytes as the swizzle, or without one a multiple of 16. What lies outside of the tensor is loaded as
/// zeros and not stored.
struct TensorLayout {
  const void* base;
  int rank;           // 2 to 5
  int element_bytes;  // 2: 16-bit floats, 4: f32
  int64_t size[5];
  int64_t stride[5];  // stride[0] is not looked at
  int tile[5];        // at most 256 each
  int swizzle;        // 0, 32, 64 or 128 bytes
};

inline Status check_layout(const TensorLayout& layout) {
  const bool known = (layout.element_bytes == 2 || layout.element_bytes == 4) && layout.rank >= 2 && layout.rank <= 5;
  if (!known) return Status::invalid("TMA has no such element type or number of dimensions");
  if (reinterpret_cast<uintptr_t>(layout.base) % 16 != 0) return Status::invalid("TMA: the tensor is not aligned");
  for (int i = 0; i < layout.rank; ++i) {
    if (layout.size[i] < 1 || layout.size[i] > int64_t{1} << 32)
      return Status::invalid("TMA: a dimension is too large");
    if (layout.tile[i] < 1 || layout.tile[i] > 256) return Status::invalid("TMA: the tile is too large");
    if (i > 0 && layout.stride[i] % 16 != 0) return Status::invalid("TMA: a stride is no multiple of 16 bytes");
  }
  return {};
}

#if defined(HN_SIMT)

using TensorMap = simt::TensorMap;

inline Status make_tensor_map(const TensorLayout& layout, TensorMap* out) {
  HN_RETURN_IF_ERROR(check_layout(layout));
  *out = {layout.base, layout.rank, layout.element_bytes, {}, {}, {}, layout.swizzle};
  for (int i = 0; i < layout.rank; ++i) {
    out->size[i] = layout.size[i];
    out->stride[i] = layout.stride[i];
    out->tile[i] = layout.tile[i];
  }
  return {};
}

#else

using TensorMap = CUtensorMap;

/// The driver is asked through the runtime, so that nothing has to be linked with libcuda.
inline Status make_tensor_map(const TensorLayout& layout, TensorMap* out) {
  HN_RETURN_IF_ERROR(check_layout(layout));
  using Encode = CUresult(CUtensorMap*, CUtensorMapDataType, cuuint32_t, void*, const cuuint64_t*, const cuuint64_t*,
                          const cuuint32_t*, const cuuint32_t*, CUtensorMapInterleave, CUtensorMapSwizzle,
                          CUtensorMapL2promotion, CUtensorMapFloatOOBfill);
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found;
  constexpr unsigned kSince = 12000;
  const cudaError_t error =
      cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, kSince, cudaEnableDefault, &found);
  if (error != cudaSuccess || found != cudaDriverEntryPointSuccess) return Status::missing("the driver knows no TMA");

  cuuint64_t size[5], stride[4];
  cuuint32_t tile[5], step[5];
  for (int i = 0; i < layout.rank; ++i) {
    size[i] = static_cast<cuuint64_t>(layout.size[i]);
    tile[i] = static_cast<cuuint32_t>(layout.tile[i]);
    step[i] = 1;
    if (i > 0) stride[i - 1] = static_cast<cuuint64_t>(layout.stride[i]);
  }
  const CUtensorMapSwizzle swizzle = layout.swizzle == 128  ? CU_TENSOR_MAP_SWIZZLE_128B
                                     : layout.swizzle == 64 ? CU_TENSOR_MAP_SWIZZLE_64B
                                     : layout.swizzle == 32 ? CU_TENSOR_MAP_SWIZZLE_32B
                                                            : CU_TENSOR_MAP_SWIZZLE_NONE;
  // bf16 stands for any 16-bit type: bits are moved, nothing is computed.
  const CUtensorMapDataType type =
      layout.element_bytes == 2 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_FLOAT32;
  const CUresult result = reinterpret_cast<Encode*>(function)(
      out, type, static_cast<cuuint32_t>(layout.rank), const_cast<void*>(layout.base), size, stride, tile, step,
      CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle, CU_TENSOR_MAP_L2_PROMOTION_L2_128B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  return result == CUDA_SUCCESS ? Status{} : Status::invalid("the driver refuses a tensor map");
}

#endif

}  // namespace hn::cuda
