/** What op cases are run with: seeded inputs, strided views of them, and the comparison of results. */
import * as assert from "uvu/assert";
import { type Device, type DType, slice, type Tensor, tensor } from "../../lib/tensor.js";
import type { Host, InputRecipe, OpCase } from "../ops/case.js";

/** Half a unit in the last place at 1: what one rounding may cost. */
export const rounding: { readonly [D in DType]?: number } = { f64: 1.2e-16, f32: 6e-8, f16: 4.9e-4, bf16: 3.9e-3 };

export type Named<T> = { [name: string]: T };

export const listOf = <T>(value: T | readonly T[]): readonly T[] => (Array.isArray(value) ? value : [value as T]);

/** Mulberry32: a small seeded generator, so that a failing case fails again. */
function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const isWhole = (dtype: DType) => rounding[dtype] === undefined && dtype !== "f8e4m3";

function hostInput(recipe: InputRecipe, dtype: DType, random: () => number): Host {
  const data = new Float64Array(recipe.shape.reduce((a, b) => a * b, 1));
  const usual = isWhole(dtype) ? () => Math.floor(8 * random()) : () => 4 * random() - 2;
  for (let i = 0; i < data.length; i++) data[i] = recipe.value?.(i, random) ?? usual();
  return { shape: recipe.shape, data };
}

export async function toHost(t: Tensor): Promise<Host> {
  return { shape: t.shape, data: Float64Array.from(await t.read(), Number) };
}

/** A view with the same values: rows in a wider tensor, starting at an odd offset. */
export function strided(t: Tensor, host: Host, device: Device): Tensor {
  const width = host.shape.at(-1) ?? 1;
  const rows = host.shape.slice(0, -1).reduce((a, b) => a * b, 1);
  // What lies between the rows must not be read: NaN shows it where the type has one.
  const wide = new Float64Array(rows * (width + 3)).fill(isWhole(t.dtype) ? 99 : Number.NaN);
  for (let r = 0; r < rows; r++) wide.set(host.data.subarray(r * width, (r + 1) * width), r * (width + 3) + 1);
  const full = tensor(wide, { dtype: t.dtype, device, shape: [...host.shape.slice(0, -1), width + 3] });
  return slice(full, -1, 1, 1 + width);
}

export async function makeInputs(
  c: OpCase,
  dtype: DType,
  device: Device,
): Promise<{ tensors: Named<Tensor>; hosts: Named<Host> }> {
  const random = generator(c.name.length * 7919 + c.name.charCodeAt(0));
  const tensors: Named<Tensor> = {};
  const hosts: Named<Host> = {};
  for (const [name, recipe] of Object.entries(c.inputs)) {
    const as = recipe.dtype ?? dtype;
    const exact = hostInput(recipe, as, random);
    const made = tensor(exact.data, { dtype: as, device, shape: exact.shape });
    tensors[name] = made;
    // Rounded by the device, so that the reference starts from what the op sees.
    hosts[name] = await toHost(made);
  }
  return { tensors, hosts };
}

/** Fails where an element is off by more than `tolerance` times the largest value of `want`. */
export function compare(got: Host, want: Host, tolerance: number, what: string): void {
  assert.equal([...got.shape], [...want.shape], `${what}: shape`);
  let largest = 0;
  for (const v of want.data) if (Number.isFinite(v)) largest = Math.max(largest, Math.abs(v));
  for (let i = 0; i < want.data.length; i++) {
    const [g, w] = [got.data[i] as number, want.data[i] as number];
    if (Object.is(g, w) || g === w || (Number.isNaN(g) && Number.isNaN(w))) continue;
    const error = Math.abs(g - w);
    if (!(error <= tolerance * Math.max(largest, 1e-30))) {
      assert.unreachable(`${what}: element ${i} is ${g}, expected ${w} (largest ${largest}, tolerance ${tolerance})`);
    }
  }
}
