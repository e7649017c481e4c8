/** Gradients of op cases: against finite differences in f64, or against the CPU's own f64 where a device has none. */
import * as assert from "uvu/assert";
import { backward, type Device, type DType, requiresGrad, scope, type Tensor, tensor } from "../../lib/tensor.js";
import type { AnyTensor, Host, OpCase } from "../ops/case.js";
import { compare, listOf, makeInputs, type Named, rounding, toHost } from "./case-inputs.js";

/** A fixed weighting of all outputs, so that one scalar stands for them. */
const weightAt = (output: number, i: number) => Math.sin(1 + 3 * output + 0.7 * i);

function weighted(outputs: readonly Host[]): number {
  let sum = 0;
  outputs.forEach((host, k) => {
    host.data.forEach((v, i) => {
      sum += v * weightAt(k, i);
    });
  });
  return sum;
}

/** Central differences with one Richardson step: error of order h⁴. */
function differences(c: OpCase, hosts: Named<Host>, name: string): Float64Array {
  const { data } = hosts[name] as Host;
  const largest = data.reduce((most, v) => Math.max(most, Math.abs(v)), 0) || 1;
  const at = (i: number, x: number) => {
    const kept = data[i] as number;
    data[i] = x;
    const value = weighted(listOf(c.reference(hosts)));
    data[i] = kept;
    return value;
  };
  return Float64Array.from(data, (x, i) => {
    const h = 1e-3 * Math.max(Math.min(largest, 1), Math.abs(x));
    const slope = (step: number) => (at(i, x + step) - at(i, x - step)) / (2 * step);
    return (4 * slope(h / 2) - slope(h)) / 3;
  });
}

/** The gradient that output k is given; of bf16's few bits, so that it is the same number in every type. */
function seed(output: Tensor, k: number, device: Device, coarse: boolean): Tensor {
  const values = Float64Array.from({ length: output.size }, (_, i) => {
    const weight = weightAt(k, i);
    return coarse ? Math.round(64 * weight) / 64 : weight;
  });
  return tensor(values, { dtype: output.dtype, device, shape: output.shape });
}

/** Runs the case and the way back; the gradients are then in the inputs' `grad`. */
export function runBackward(c: OpCase, inputs: Named<Tensor>, device: Device, coarse = false): void {
  for (const name of c.gradients ?? []) requiresGrad(inputs[name] as Tensor);
  scope(() => {
    listOf(c.run(inputs as Named<AnyTensor>)).forEach((output, k) => {
      if (output.requiresGrad) backward(output, { gradient: seed(output, k, device, coarse) });
    });
  });
}

async function gradientOf(c: OpCase, name: string, input: Tensor): Promise<Host> {
  if (input.grad === undefined) assert.unreachable(`${c.name}: no gradient reached ${name}`);
  return toHost(input.grad as Tensor);
}

export async function checkGradients(c: OpCase, device: Device): Promise<void> {
  const { tensors, hosts } = await makeInputs(c, "f64", device);
  try {
    runBackward(c, tensors, device);
    for (const name of c.gradients ?? []) {
      const input = tensors[name] as Tensor;
      if (input.size === 0) continue;
      const want = { shape: input.shape, data: differences(c, hosts, name) };
      compare(await gradientOf(c, name, input), want, 2e-7, `${c.name} gradient of ${name}`);
    }
  } finally {
    for (const t of Object.values(tensors)) t.dispose();
  }
}

/** Backward rounds more than once, and adds over more elements than forward. */
const GRADIENT_SLACK = 4;

/** Gradients in `dtype` on the device against those that the CPU makes in f64 from the same, rounded inputs. */
export async function checkGradientsAgainstCpu(c: OpCase, dtype: DType, device: Device, cpu: Device): Promise<void> {
  const { tensors, hosts } = await makeInputs(c, dtype, device);
  const exact: Named<Tensor> = {};
  try {
    for (const [name, host] of Object.entries(hosts)) {
      exact[name] = tensor(host.data, { dtype: c.inputs[name]?.dtype ?? "f64", device: cpu, shape: host.shape });
    }
    runBackward(c, tensors, device, true);
    runBackward(c, exact, cpu, true);
    const roundings = GRADIENT_SLACK * (c.slack ?? 4) + (c.gradientRoundings ?? 0);
    const tolerance = roundings * (rounding[dtype] ?? 0);
    for (const name of c.gradients ?? []) {
      const input = tensors[name] as Tensor;
      if (input.size === 0) continue;
      const want = await gradientOf(c, name, exact[name] as Tensor);
      compare(await gradientOf(c, name, input), want, tolerance, `${c.name} ${dtype} gradient of ${name}`);
    }
  } finally {
    for (const t of [...Object.values(tensors), ...Object.values(exact)]) t.dispose();
  }
}
