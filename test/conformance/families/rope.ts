/** Rotary tables for the grids that the tensors' names give, their checksums, and a rotation. */
import { ropeTables3d, rope as rotate, scope } from "../../../lib/tensor.js";
import type { ConformanceCase } from "../case-file.js";
import { toleranceOf, type Verdict } from "../compare.js";
import { type Family, type Outputs, type RunOptions, upload } from "./family.js";

interface Grid {
  readonly label: string;
  readonly t: number;
  readonly h: number;
  readonly w: number;
}

/** In the order of the JSON: the first table is the one of the rotation. */
function gridsOf(from: ConformanceCase): Grid[] {
  const labels = Object.keys(from.about.tensors).flatMap((name) => /^out\.cos_(\d+x\d+x\d+)$/.exec(name)?.[1] ?? []);
  return labels.map((label) => {
    const [t = 0, h = 0, w = 0] = label.split("x").map(Number);
    return { label, t, h, w };
  });
}

function tablesOf(from: ConformanceCase, grid: Grid, { device }: RunOptions) {
  const { rope_dim_list: axes, theta } = from.about.config as {
    readonly rope_dim_list: readonly [number, number, number];
    readonly theta: number;
  };
  return ropeTables3d(grid, { axes, theta, device });
}

async function outputs(from: ConformanceCase, options: RunOptions): Promise<Outputs> {
  const made: { [name: string]: Outputs[string] } = {};
  for (const grid of gridsOf(from)) {
    // Of a large table only some rows are stored, their numbers beside them.
    const rows = from.stored.get(`out.rows_${grid.label}`);
    const { cos, sin } = tablesOf(from, grid, options);
    for (const [name, table] of Object.entries({ cos, sin })) {
      const [, width = 0] = table.shape;
      const whole = await table.read();
      table.dispose();
      const kept = rows === undefined ? Array.from({ length: whole.length / width }, (_, i) => i) : [...rows.data];
      const data = Float32Array.from(kept.flatMap((row) => [...whole.subarray(row * width, (row + 1) * width)]));
      made[`out.${name}_${grid.label}`] = { shape: [kept.length, width], data };
    }
    if (rows !== undefined) made[`out.rows_${grid.label}`] = rows;
  }
  const q = from.findInput("q");
  const first = gridsOf(from).find(({ t, h, w }) => t * h * w === q?.shape[1]);
  if (q !== undefined && first !== undefined) {
    made["out.q_rotated"] = scope(() => {
      const { cos, sin } = tablesOf(from, first, options);
      return rotate(upload(q, options.device, "f32"), cos, sin);
    });
  }
  return made;
}

/** The sums over whole tables, against those in the JSON; the difference is a mean over the elements. */
async function extra(from: ConformanceCase, options: RunOptions): Promise<{ [name: string]: Verdict }> {
  const sums = (from.about.checksums ?? {}) as { readonly [label: string]: { readonly [sum: string]: number } };
  const verdicts: { [name: string]: Verdict } = {};
  for (const grid of gridsOf(from)) {
    const { cos, sin } = tablesOf(from, grid, options);
    for (const [name, table] of Object.entries({ cos, sin })) {
      const want = sums[grid.label]?.[`sum_${name}`];
      const values = await table.read();
      table.dispose();
      if (want === undefined) continue;
      const error = Math.abs(values.reduce((a, b) => a + b, 0) - want) / values.length;
      const tolerance = toleranceOf(from, `out.${name}_${grid.label}`, "f32");
      verdicts[`checksums.${grid.label}.sum_${name}`] = { maxRelErr: error, tolerance, pass: error <= tolerance };
    }
  }
  return verdicts;
}

export const rope: Family = {
  name: "rope",
  fits: (from) => gridsOf(from).length > 0,
  f32Only: true,
  outputs,
  extra,
};
