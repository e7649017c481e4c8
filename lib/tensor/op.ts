/**
 * What an op is: its arguments, attributes, shape rule, gradient and cost, declared once as data. `defineOp` (lib/ops)
 * makes these, `runOp` runs them, `npm run gen` turns them into the C++ argument structs and the support table.
 */
import type { DType } from "./dtype.js";
import type { Shape } from "./shape.js";
import type { Tensor } from "./tensor.js";

export interface InputSpec {
  readonly kind: "one" | "optional" | "list";
  readonly dtypes: readonly DType[];
  /** "rows": the kernel takes any strides of the outer axes. "dense": a strided view is copied first, and counted. */
  readonly layout: "rows" | "dense";
  /** The op overwrites this input's elements; it takes no part in gradients. */
  readonly written: boolean;
}

/** f64 and i64 are numbers, i64[] arrays of them; an array of names is an enumeration. */
export type AttrSpec = "f64" | "i64" | "bool" | "i64[]" | readonly string[];

export type AttrValue<A extends AttrSpec> = A extends "f64" | "i64"
  ? number
  : A extends "bool"
    ? boolean
    : A extends "i64[]"
      ? readonly number[]
      : A extends readonly (infer Name)[]
        ? Name
        : never;

/** What an attribute's value may be before its spec is known. */
export type AttrInput = number | boolean | string | readonly number[];

export type InputSpecs = { readonly [name: string]: InputSpec };
export type AttrSpecs = { readonly [name: string]: AttrSpec };

export type InputTensor = Tensor | readonly Tensor[] | undefined;
export type Inputs<I extends InputSpecs> = {
  readonly [K in keyof I]: I[K]["kind"] extends "list"
    ? readonly Tensor[]
    : I[K]["kind"] extends "optional"
      ? Tensor | undefined
      : Tensor;
};
export type Attrs<A extends AttrSpecs> = { readonly [K in keyof A]: AttrValue<A[K]> };

/** Type and shape of an output to be made. */
export interface OutputSpec {
  readonly dtype: DType;
  readonly shape: Shape;
}

/** How a kernel is to walk an input, where that is not the tensor's own geometry (broadcast, permuted). */
export interface KernelView {
  readonly shape: Shape;
  readonly strides: readonly number[];
  readonly offset: number;
}

/** What a gradient rule sees. `saved` holds what the op declared in `saves`; the rest is known by shape and type only. */
export interface GradContext<I extends InputSpecs, A extends AttrSpecs, O extends string> {
  readonly saved: { readonly [K in keyof I | O]: Tensor };
  readonly savedList: { readonly [K in keyof I]: readonly Tensor[] };
  readonly given: { readonly [K in keyof I]: boolean };
  readonly specs: { readonly [K in keyof I]: OutputSpec };
  readonly specLists: { readonly [K in keyof I]: readonly OutputSpec[] };
  readonly attrs: Attrs<A>;
  /** Gradients of the outputs; one that nothing depends on is undefined. */
  readonly grads: { readonly [K in O]: Tensor | undefined };
  /** Whether this input's gradient is wanted. */
  readonly needs: { readonly [K in keyof I]: boolean };
}

export type InputGrads<I extends InputSpecs> = {
  readonly [K in keyof I]?: (I[K]["kind"] extends "list" ? readonly (Tensor | undefined)[] : Tensor) | undefined;
};

export interface OpDeclaration<I extends InputSpecs, A extends AttrSpecs, O extends string> {
  /** snake_case; the native kernel's name. */
  readonly name: string;
  /** One line for docs/ops.md. */
  readonly doc: string;
  readonly inputs: I;
  readonly attrs: A;
  /** In order. One that `shape` leaves out is not computed. */
  readonly outputs: readonly O[];
  /** Checks the inputs against each other and says what comes out. Throws SHAPE_MISMATCH and the like. */
  shape(inputs: Inputs<I>, attrs: Attrs<A>): { readonly [K in O]?: OutputSpec | undefined };
  /** Inputs and outputs that the gradient needs the values of. What is saved lives until the graph goes: less is better. */
  readonly saves?: readonly (Extract<keyof I, string> | O)[];
  /** Instead of `saves`, where it depends on the attributes or on which inputs' gradients are wanted. */
  savesFor?(attrs: Attrs<A>, needs: { readonly [K in keyof I]: boolean }): readonly (Extract<keyof I, string> | O)[];
  /** Absent: the op has no gradient, and its outputs end the graph. */
  vjp?(ctx: GradContext<I, A, O>): InputGrads<I>;
  /** Bytes that must move and FLOPs that must be done, for benchmarks. */
  cost?(inputs: Inputs<I>, attrs: Attrs<A>): { readonly bytes: number; readonly flops: number };
}

/** A declaration with what running it needs looked up beforehand. */
export interface Op<I extends InputSpecs = InputSpecs, A extends AttrSpecs = AttrSpecs, O extends string = string>
  extends OpDeclaration<I, A, O> {
  readonly inputNames: readonly Extract<keyof I, string>[];
  /** In the order of inputNames: an array is read faster than an object by name, and this is read at every call. */
  readonly inputSpecs: readonly InputSpec[];
  readonly attrNames: readonly Extract<keyof A, string>[];
  readonly attrSpecs: readonly AttrSpec[];
  /** The number of the native kernel; −1 before `npm run gen` has seen the op. */
  readonly id: number;
}
