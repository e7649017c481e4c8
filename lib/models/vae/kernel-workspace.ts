/**
 * What kernels ask for while they run, besides inputs and outputs: a few tens of megabytes, by the rules of the CPU's
 * kernels (native/cpu/kernels/gemm.cc, conv3d_winograd.cc, conv3d_narrow.cc,
 * attention.cc). A device that needs less is estimated too high.
 */

const float = 4;
/** Weights are packed for the matrix product, so much of them at a time. */
const mostPacked = 32 * 2 ** 20;
/** Products of 2 × 2 places at a time in Winograd's form, in which 3 × 3 taps become 16 products. */
const mostProducts = 48 * 2 ** 20;
const winograd = { products: 16, places: 4, leastChannels: 32, leastSide: 4 } as const;

/** To few channels the products are of (tap, channel), for a strip of rows and as many frames as there are taps in time. */
const narrow = { mostChannels: 8, leastDepth: 32, mostSlab: 4 * 2 ** 20 } as const;

export interface ConvolutionSize {
  readonly inner: number;
  readonly out: number;
  /** Kernel size along height and width, and taps in all. */
  readonly side: number;
  readonly taps: number;
  readonly stride: number;
  /** Of the result. */
  readonly frames: number;
  readonly height: number;
  readonly width: number;
}

export function convolutionWorkspace(size: ConvolutionSize): number {
  const { inner, out, side, taps, stride, frames, height, width } = size;
  if (out <= narrow.mostChannels && inner >= narrow.leastDepth && stride === 1 && taps > 1) {
    return (taps / side ** 2) * Math.min(height * width * taps * out * float, narrow.mostSlab);
  }
  const { products, places, leastChannels, leastSide } = winograd;
  const wide = Math.min(inner, out) >= leastChannels && Math.min(height, width) >= leastSide;
  if (side !== 3 || stride !== 1 || !wide) return Math.min(taps * inner * out * float, mostPacked);
  const transformed = (taps / side ** 2) * products * inner * out * float;
  const results = (frames * height * width * products * out * float) / places;
  return Math.min(transformed, mostPacked) + Math.min(results, mostProducts);
}

/** Keys and values, packed. */
export function attentionWorkspace(tokens: number, channels: number): number {
  return 2 * tokens * channels * float;
}
