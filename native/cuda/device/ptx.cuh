// One wrapper an instruction, its PTX and its emulation side by side; the files it includes are the only ones with
// `asm`.
#pragma once

#include "cuda/device/ptx_async.cuh"
#include "cuda/device/ptx_barrier.cuh"
#include "cuda/device/ptx_math.cuh"
#include "cuda/device/ptx_tensor_core.cuh"
