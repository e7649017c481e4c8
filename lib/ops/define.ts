/** `defineOp`: one declaration an op. Everything else about it (ids, C++ structs, docs, tape) follows from that. */
import type { DType } from "../tensor/dtype.js";
import { floatDTypes } from "../tensor/dtype.js";
import type { AttrSpec, AttrSpecs, InputSpec, InputSpecs, Op, OpDeclaration } from "../tensor/op.js";
import { opIds } from "./generated/op-ids.js";

const declared = new Map<string, Op>();

/** Every op that has been declared, by name: what `npm run gen` and the tests of coverage walk. */
export function declaredOps(): readonly Op[] {
  return [...declared.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
}

export function defineOp<const I extends InputSpecs, const A extends AttrSpecs, const O extends string>(
  declaration: OpDeclaration<I, A, O>,
): Op<I, A, O> {
  const ids: { readonly [name: string]: number } = opIds;
  const op: Op<I, A, O> = {
    ...declaration,
    inputNames: Object.keys(declaration.inputs) as Extract<keyof I, string>[],
    inputSpecs: Object.values<InputSpec>(declaration.inputs),
    attrNames: Object.keys(declaration.attrs) as Extract<keyof A, string>[],
    attrSpecs: Object.values<AttrSpec>(declaration.attrs),
    id: ids[declaration.name] ?? -1,
  };
  if (declared.has(op.name)) throw new Error(`two ops are called ${op.name}`);
  // The registry is for tools that look at names and specs only, so it forgets the precise types.
  declared.set(op.name, op as Op<InputSpecs, AttrSpecs, string> as Op);
  return op;
}

interface InputOptions<D extends DType> {
  readonly dtypes?: readonly D[];
  /** "rows" when the kernel takes any strides of the outer axes (default "dense"). */
  readonly layout?: InputSpec["layout"];
}

/** An input that must be given. Default: any float type, dense. */
export function one<D extends DType>({ dtypes, layout = "dense" }: InputOptions<D> = {}) {
  return { kind: "one", dtypes: dtypes ?? floatDTypes, layout, written: false } as const;
}

/** An input that may be undefined. */
export function optional<D extends DType>({ dtypes, layout = "dense" }: InputOptions<D> = {}) {
  return { kind: "optional", dtypes: dtypes ?? floatDTypes, layout, written: false } as const;
}

/** Any number of tensors. */
export function list<D extends DType>({ dtypes, layout = "dense" }: InputOptions<D> = {}) {
  return { kind: "list", dtypes: dtypes ?? floatDTypes, layout, written: false } as const;
}

/** A list whose tensors the op overwrites (optimizers, EMA); each must be dense. */
export function writtenList<D extends DType>({ dtypes }: { readonly dtypes?: readonly D[] } = {}) {
  return { kind: "list", dtypes: dtypes ?? floatDTypes, layout: "dense", written: true } as const;
}

/** A tensor that the op overwrites. */
export function written<D extends DType>({ dtypes, layout = "dense" }: InputOptions<D> = {}) {
  return { kind: "one", dtypes: dtypes ?? floatDTypes, layout, written: true } as const;
}
