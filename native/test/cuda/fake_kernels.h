// Numbers of the kernels in fake_kernels.cc, beside those of test/fake_backend.h that are there too: kAdd, kAddInPlace
// and kFail.
#pragma once

#include "test/fake_backend.h"

namespace hn::test {

constexpr auto kMayRefuse = static_cast<Kernel>(100);  // kAdd that looks at its data, and finds it good
constexpr auto kRefuse = static_cast<Kernel>(101);     // the same, and finds it bad
constexpr auto kCrash = static_cast<Kernel>(102);      // breaks the GPU

}  // namespace hn::test
