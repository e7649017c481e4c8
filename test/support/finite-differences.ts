/** Gradients by finite differences, for functions of tensors in f64 that give one number. */
import * as assert from "uvu/assert";
import { backward, type Device, requiresGrad, scope, type Tensor, tensor } from "../../lib/tensor.js";

/** Values of f64 that repeat from run to run, about uniform in −1 … 1. */
export function wave(size: number, seed = 1): Float64Array {
  // A loop: `from` takes seconds for a network's weights.
  const values = new Float64Array(size);
  for (let i = 0; i < size; i++) {
    const x = Math.sin((i + 1) * 12.9898 + seed * 78.233) * 43758.5453;
    values[i] = 2 * (x - Math.floor(x)) - 1;
  }
  return values;
}

/**
 * Compares the gradient that fn's result has for its argument with central differences at a few places.
 *
 * @param fn is called inside a scope
 */
export async function expectGradient(
  device: Device,
  shape: readonly number[],
  values: Float64Array,
  fn: (x: Tensor<"f64">) => Tensor<"f64">,
  { places = 12, step = 1e-6, tolerance = 1e-6 }: { places?: number; step?: number; tolerance?: number } = {},
): Promise<void> {
  using x = requiresGrad(tensor(values, { device, shape }));
  scope(() => backward(fn(x)));
  assert.ok(x.grad !== undefined, "no gradient");
  const gradient = await (x.grad as Tensor<"f64">).read();
  const scale = gradient.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  assert.ok(scale > 0, "the gradient is zero");
  const at = async (i: number, by: number) => {
    const moved = Float64Array.from(values);
    moved[i] = (moved[i] as number) + by;
    const y = scope(() => fn(tensor(moved, { device, shape })));
    const value = await y.item();
    y.dispose();
    return value;
  };
  for (let k = 0; k < places; k++) {
    const i = Math.floor(((k + 0.37) * values.length) / places);
    const expected = ((await at(i, step)) - (await at(i, -step))) / (2 * step);
    const off = Math.abs(expected - (gradient[i] as number));
    assert.ok(off <= tolerance * scale, `element ${i}: ${gradient[i]}, expected ${expected} (largest ${scale})`);
  }
}
