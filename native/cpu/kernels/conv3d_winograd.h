// Convolution 3x3 (with 1 or 3 taps in time) at stride 1, in the 2x2 output tiles of Winograd's minimal filtering:
// 16 products of [tiles, taps in t * Cin] x [taps in t * Cin, Cout] in place of 36, so 2.25 times fewer
// multiplications. The transforms only add and subtract inputs, and halve and quarter weights: errors stay within a
// small factor of the direct sum's. Source: Lavin and Gray, Fast algorithms for convolutional neural networks (arXiv
// 1509.09308), F(2x2, 3x3).
#pragma once

#include "core/generated/conv3d.h"
#include "cpu/context.h"

namespace hn::cpu::HN_ISA {

/// Whether the shapes are such that the saved multiplications outweigh the transforms. Decided by shapes alone, so that
/// a convolution gives the same bytes everywhere.
bool winograd_pays(const Conv3dArgs& a);

/// y of a convolution for which winograd_pays(); sums are float.
Status conv3d_winograd(const Context& ctx, const Conv3dArgs& a);

}  // namespace hn::cpu::HN_ISA
