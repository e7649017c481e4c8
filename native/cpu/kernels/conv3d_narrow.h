// Convolution to few channels (a decoder's last one, 128 -> 3): see conv3d_narrow.cc.
#pragma once

#include "core/generated/conv3d.h"
#include "cpu/context.h"

namespace hn::cpu::HN_ISA {

/// Whether so few channels come out that panels of the usual product would stay nearly empty. Decided by shapes alone.
bool is_narrow(const Conv3dArgs& a);

/// y of a convolution for which is_narrow().
template <class Acc>
Status conv3d_narrow(const Context& ctx, const Conv3dArgs& a);

}  // namespace hn::cpu::HN_ISA
