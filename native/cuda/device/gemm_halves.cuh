// The products of two operands of one 16-bit type, in every order of storage: what gemm_bf16.cu and gemm_f16.cu are
// made of, one type a file.
#pragma once

#include "cuda/device/gemm_kernel.cuh"

namespace hn::cuda {

template <class T, class C, Major kA, Major kB, bool kWide>
Status launch_halves(const GemmLaunch& l) {
  return launch_gemm<C, T, MatrixLoader<T, C, C::kM, kA, kWide>, MatrixLoader<T, C, C::kN, kB, kWide>>(l);
}

template <class T, Major kA, Major kB>
Status launch_halves(const GemmLaunch& l, bool wide) {
  if (!wide) return launch_halves<T, SmallTile, kA, kB, false>(l);
  // Both transposed occurs in no layer: the small tile serves it.
  if constexpr (kA == Major::k || kB == Major::mn) {
    if (l.choice.large) return launch_halves<T, LargeTile, kA, kB, true>(l);
  }
  return launch_halves<T, SmallTile, kA, kB, true>(l);
}

template <class T>
Status launch_halves(const GemmLaunch& l, bool wide) {
  const bool a_rows = l.gemm.a_major == Major::k, b_rows = l.gemm.b_major == Major::k;
  if (a_rows) {
    return b_rows ? launch_halves<T, Major::k, Major::k>(l, wide) : launch_halves<T, Major::k, Major::mn>(l, wide);
  }
  return b_rows ? launch_halves<T, Major::mn, Major::k>(l, wide) : launch_halves<T, Major::mn, Major::mn>(l, wide);
}

}  // namespace hn::cuda
