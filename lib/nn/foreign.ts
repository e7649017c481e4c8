/** The tensors that a naming convention makes of a model's parameters: the inverse of loading. */
import { HunyuanError } from "../runtime/errors.js";
import type { Shape } from "../tensor/shape.js";
import { rowsOf } from "./sources.js";
import type { Naming, ParameterSpec } from "./spec.js";

/** Rows of a parameter that are rows of a foreign tensor. */
export interface ForeignPart {
  readonly spec: ParameterSpec;
  /** The first of the parameter's rows. */
  readonly from: number;
  readonly rows: number;
  /** Where they go in the foreign tensor. */
  readonly to: number;
}

export interface ForeignTensor {
  readonly name: string;
  readonly shape: Shape;
  /** In the order of the foreign tensor's rows. */
  readonly parts: readonly ForeignPart[];
}

/**
 * All foreign tensors of some parameters.
 *
 * @throws INVALID_ARGUMENT when the rows of one do not follow on each other: parameters that belong to it are missing
 */
export function foreignTensors(specs: readonly ParameterSpec[], naming: Naming): readonly ForeignTensor[] {
  const byName = new Map<string, ForeignPart[]>();
  for (const spec of specs) {
    let from = 0;
    for (const { key, rows, start = 0 } of naming(spec)) {
      const part = { spec, from, rows, to: start };
      const parts = byName.get(key);
      if (parts === undefined) byName.set(key, [part]);
      else parts.push(part);
      from += rows;
    }
  }
  return [...byName].map(([name, parts]) => assemble(name, parts));
}

function assemble(name: string, unordered: readonly ForeignPart[]): ForeignTensor {
  const parts = [...unordered].sort((a, b) => a.to - b.to);
  let rows = 0;
  for (const part of parts) {
    if (part.to !== rows) {
      const message = `${name}: its rows ${Math.min(part.to, rows)} … ${Math.max(part.to, rows)} come from no parameter, or from two`;
      throw new HunyuanError("INVALID_ARGUMENT", message, { op: "foreignTensors", argument: "specs" });
    }
    rows += part.rows;
  }
  const spec = (parts[0] as ForeignPart).spec;
  const whole = parts.length === 1 && rows === rowsOf(spec.shape);
  return { name, shape: whole ? spec.shape : [rows, ...spec.shape.slice(1)], parts };
}
