/** Schedules, whose steps and shift stand in the tensors' names, and Euler steps with given velocities. */

import { eulerStep } from "../../../lib/diffusion/sampler.js";
import { flowSchedule, linearQuadraticSchedule } from "../../../lib/diffusion/schedule.js";
import { concat, scope, select, type Tensor, unsqueeze } from "../../../lib/tensor.js";
import type { ConformanceCase } from "../case-file.js";
import type { HostTensor } from "../compare.js";
import { type Family, type Outputs, type RunOptions, upload } from "./family.js";

const vector = (data: readonly number[]): HostTensor => ({ shape: [data.length], data });

type Make = (match: RegExpMatchArray) => readonly number[];

const number = String.raw`(\d+(?:\.\d+)?)`;

const makers: readonly (readonly [RegExp, Make])[] = [
  [
    new RegExp(`^out\\.sigmas_(\\d+)_${number}(_forward)?$`),
    ([, steps, shift, forward]) => {
      const { sigmas } = flowSchedule(Number(steps), Number(shift));
      return forward === undefined ? sigmas : sigmas.map((sigma) => Math.fround(1 - sigma));
    },
  ],
  [
    new RegExp(`^out\\.timesteps_(\\d+)_${number}$`),
    ([, steps, shift]) => flowSchedule(Number(steps), Number(shift)).timesteps,
  ],
  [
    new RegExp(`^out\\.linear_quadratic_(\\d+)_${number}_(half|\\d+)$`),
    ([, steps, threshold, linear]) => {
      const linearSteps = linear === "half" ? {} : { linearSteps: Number(linear) };
      // The case leaves the closing 0 out.
      return linearQuadraticSchedule(Number(steps), { threshold: Number(threshold), ...linearSteps }).sigmas.slice(
        0,
        -1,
      );
    },
  ],
];

/** Each velocity taken along in turn: all the samples, one after the other. */
function samples(from: ConformanceCase, { device }: RunOptions): Tensor {
  const { steps, shift } = from.about.euler as { readonly steps: number; readonly shift: number };
  const { sigmas } = flowSchedule(steps, shift);
  return scope(() => {
    const velocities = upload(from.input("velocity"), device, "f32");
    const sample = upload(from.input("sample"), device, "f32");
    const all: Tensor<"f32">[] = [];
    for (let k = 0; k < (velocities.shape[0] ?? 0); k++) {
      const [sigma, next] = sigmas.slice(k, k + 2) as [number, number];
      all.push(eulerStep(all.at(-1) ?? sample, select(velocities, 0, k), sigma, next));
    }
    return concat(
      all.map((one) => unsqueeze(one, 0)),
      0,
    );
  });
}

function outputs(from: ConformanceCase, options: RunOptions): Outputs {
  const made: { [name: string]: Outputs[string] } = {};
  for (const name of from.expected) {
    for (const [pattern, make] of makers) {
      const match = name.match(pattern);
      if (match !== null) made[name] = vector(make(match));
    }
  }
  if (from.about.euler !== undefined) made["out.samples"] = samples(from, options);
  return made;
}

export const scheduler: Family = {
  name: "scheduler",
  fits: (from) => from.expected.some((name) => makers.some(([pattern]) => pattern.test(name))),
  f32Only: true,
  outputs,
};
