// What only Hopper has, for the *_sm90.cu files: mbarriers, TMA and wgmma, besides everything of ptx.cuh. Their code is
// inside of `#if HN_HAS_SM90`.
#pragma once

#include "cuda/device/ptx.cuh"
#include "cuda/device/ptx_mbarrier.cuh"
#include "cuda/device/ptx_tma.cuh"
#include "cuda/device/ptx_wgmma.cuh"
