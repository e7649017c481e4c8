/** Runs one op: checks types and devices, makes the outputs, queues the record, and records the gradient. */
import { binding } from "../runtime/binding.js";
import { invalid } from "../runtime/check.js";
import type { Device } from "../runtime/device.js";
import { HunyuanError } from "../runtime/errors.js";
import { statusToError } from "../runtime/failures.js";
import { mailboxNumber } from "../runtime/mailbox.js";
import { checkDevice } from "./check.js";
import type { DType } from "./dtype.js";
import { needsGrad, recordGradient } from "./grad-record.js";
import type {
  AttrInput,
  AttrSpec,
  AttrSpecs,
  Attrs,
  InputSpec,
  InputSpecs,
  Inputs,
  InputTensor,
  KernelView,
  Op,
  OutputSpec,
} from "./op.js";
import { doublesOfTensor, RecordWriter } from "./record.js";
import { isAddressable, sameShape, showShape } from "./shape.js";
import { recordingOff } from "./tape.js";
import { denseTensor, Tensor } from "./tensor.js";

export interface RunOptions {
  /** Geometry by which the kernel walks an input instead of the tensor's own. */
  readonly views?: { readonly [input: string]: KernelView };
  /** Writes an output into this tensor instead of a fresh one (a view of a concatenation, say). Records no gradient. */
  readonly into?: { readonly [output: string]: Tensor };
  /** Device for ops without tensor inputs. */
  readonly device?: Device;
}

const writer = new RecordWriter();

/**
 * Queues an op and answers its outputs. R names the types of the outputs, which the op's shape rule decides: the caller,
 * a public op function, knows the rule.
 */
export function runOp<R extends { readonly [name: string]: DType }>(
  op: Op,
  inputs: { readonly [name: string]: InputTensor },
  attrs: { readonly [name: string]: AttrInput },
  options: RunOptions = {},
): { readonly [K in keyof R]: Tensor<R[K]> } {
  const values = new Array<InputTensor>(op.inputNames.length);
  for (let i = 0; i < values.length; i++) values[i] = inputs[op.inputNames[i] as string];
  const device = checkInputs(op, values, options.device);
  const given = new Array<AttrInput>(op.attrNames.length);
  for (let i = 0; i < given.length; i++) given[i] = checkAttr(op, i, attrs[op.attrNames[i] as string]);
  const recorded = op.vjp !== undefined && !recordingOff() && anyNeedsGrad(values);
  if (options.into !== undefined && recorded) {
    throw new HunyuanError(
      "GRADIENT_UNAVAILABLE",
      `${op.name}: what is written into a given tensor carries no gradient`,
      { op: op.name },
    );
  }
  // Which names and kinds there are is what checkInputs has just compared with the declaration.
  const specs = op.shape(inputs as Inputs<InputSpecs>, attrs as Attrs<AttrSpecs>);
  // Copies of strided views are ops of their own, so they go before this op's record is begun.
  const copies: Tensor[] = [];
  const ready = prepareInputs(op, values, options.views, copies);
  const outputs: { [name: string]: Tensor } = {};
  try {
    const first = writeRecord(op, ready, given, specs, options);
    const code = binding().submit(device.id);
    if (code !== 0) throw refusal(op, code, device);
    takeOutputs(op, specs, options, device, first, outputs);
  } finally {
    for (const tensor of copies) tensor.dispose();
  }
  if (recorded) recordGradient(op, inputs, attrs as Attrs<AttrSpecs>, outputs);
  // The one cast: what comes out has the types that the op's shape rule gave, which R repeats.
  return outputs as { readonly [K in keyof R]: Tensor<R[K]> };
}

function anyNeedsGrad(values: readonly InputTensor[]): boolean {
  for (let i = 0; i < values.length; i++) if (needsGrad(values[i])) return true;
  return false;
}

function checkInputs(op: Op, inputs: readonly InputTensor[], chosen: Device | undefined): Device {
  if (chosen !== undefined) checkDevice(op.name, chosen);
  let device = chosen;
  for (let i = 0; i < inputs.length; i++) {
    const name = op.inputNames[i] as string;
    const spec = op.inputSpecs[i] as InputSpec;
    const value = inputs[i];
    if (spec.kind === "list") {
      if (!Array.isArray(value)) throw notATensor(op, name, value);
      for (const item of value) device = checkTensor(op, name, spec, item, device);
    } else if (value !== undefined) {
      device = checkTensor(op, name, spec, value, device);
    } else if (spec.kind === "one") {
      throw notATensor(op, name, value);
    }
  }
  if (device === undefined) throw new HunyuanError("INVALID_ARGUMENT", `${op.name}: no tensors given`, { op: op.name });
  return device;
}

function checkTensor(op: Op, name: string, spec: InputSpec, value: unknown, device: Device | undefined): Device {
  if (!(value instanceof Tensor)) throw notATensor(op, name, value);
  if (!spec.dtypes.includes(value.dtype)) {
    throw new HunyuanError(
      "DTYPE_UNSUPPORTED",
      `${op.name}: ${name} is ${value.dtype}, expected ${spec.dtypes.join(", ")}`,
      { op: op.name, argument: name, dtype: value.dtype },
    );
  }
  if (device !== undefined && value.device !== device) {
    throw new HunyuanError(
      "DEVICE_MISMATCH",
      `${op.name}: ${name} is on ${value.device.name}, another device than ${device.name} of the arguments before`,
      { op: op.name, devices: [device.name, value.device.name] },
    );
  }
  return value.device;
}

function notATensor(op: Op, name: string, value: unknown): HunyuanError<"INVALID_ARGUMENT"> {
  return invalid(op.name, name, value, op.inputs[name]?.kind === "list" ? "an array of tensors" : "a tensor");
}

/** What native code reads as a whole number, a flag or a name must be one: it cannot tell. */
function checkAttr(op: Op, index: number, value: unknown): AttrInput {
  const spec = op.attrSpecs[index] as AttrSpec;
  if (typeof value === "number") {
    if (spec === "f64" || (spec === "i64" && Number.isSafeInteger(value))) return value;
  } else if (typeof value === "boolean") {
    if (spec === "bool") return value;
  } else if (typeof value === "string") {
    if (typeof spec === "object" && spec.includes(value)) return value;
  } else if (spec === "i64[]" && isWholes(value)) {
    return value;
  }
  const wanted = typeof spec === "object" ? spec.join(", ") : attrWords[spec];
  throw invalid(op.name, op.attrNames[index] as string, value, wanted);
}

const attrWords = {
  f64: "a number",
  i64: "a whole number",
  bool: "true or false",
  "i64[]": "an array of whole numbers",
} as const;

function isWholes(value: unknown): value is readonly number[] {
  if (!Array.isArray(value)) return false;
  for (let i = 0; i < value.length; i++) if (!Number.isSafeInteger(value[i])) return false;
  return true;
}

/**
 * The inputs as the kernel can read them, in order. Dense copies made on the way go to `copies`, to be disposed of once
 * the op is queued.
 */
function prepareInputs(
  op: Op,
  inputs: readonly InputTensor[],
  views: RunOptions["views"],
  copies: Tensor[],
): readonly InputTensor[] {
  let ready: InputTensor[] | undefined;
  for (let i = 0; i < inputs.length; i++) {
    const { layout, written } = op.inputSpecs[i] as InputSpec;
    const value = inputs[i];
    if (value === undefined || layout === "rows" || written) continue;
    if (views !== undefined && views[op.inputNames[i] as string] !== undefined) continue;
    if (value instanceof Tensor ? value.isDense : value.every((tensor) => tensor.isDense)) continue;
    ready ??= [...inputs];
    ready[i] = value instanceof Tensor ? denseCopy(value, copies) : value.map((tensor) => denseCopy(tensor, copies));
  }
  return ready ?? inputs;
}

function denseCopy(tensor: Tensor, copies: Tensor[]): Tensor {
  if (tensor.isDense) return tensor;
  const copy = Tensor.toDense(tensor, tensor.dtype);
  tensor.device.insertedCopies++;
  copies.push(copy);
  return copy;
}

/** Fills the mailbox; answers the place where the outputs begin. */
function writeRecord(
  op: Op,
  inputs: readonly InputTensor[],
  attrs: readonly AttrInput[],
  specs: { readonly [name: string]: OutputSpec | undefined },
  options: RunOptions,
): number {
  const args = inputs.length + op.outputs.length;
  writer.begin(op.id, args, countTensors(inputs) + op.outputs.length, countAttrs(attrs));
  for (let i = 0; i < inputs.length; i++) {
    const value = inputs[i];
    const { written } = op.inputSpecs[i] as InputSpec;
    if (value === undefined) writer.count(0);
    else if (value instanceof Tensor) {
      writer.count(1);
      writer.tensor(value, options.views?.[op.inputNames[i] as string] ?? value, written);
    } else {
      writer.count(value.length);
      for (const tensor of value) writer.tensor(tensor, tensor, written);
    }
  }
  const first = writer.place;
  for (const name of op.outputs) {
    const spec = specs[name];
    const into = options.into?.[name];
    writer.count(spec === undefined ? 0 : 1);
    if (spec === undefined) continue;
    if (into === undefined) writer.output(checkOutput(op, spec));
    else writer.tensor(checkInto(op, name, into, spec), into, true);
  }
  for (let i = 0; i < attrs.length; i++) writer.attr(op.attrSpecs[i] as AttrSpec, attrs[i] as AttrInput);
  return first;
}

/** Reads the handles of fresh outputs back, in the order in which writeRecord wrote them, and makes tensors of them. */
function takeOutputs(
  op: Op,
  specs: { readonly [name: string]: OutputSpec | undefined },
  options: RunOptions,
  device: Device,
  first: number,
  outputs: { [name: string]: Tensor },
): void {
  let place = first;
  for (const name of op.outputs) {
    const spec = specs[name];
    place += 1;
    if (spec === undefined) continue;
    outputs[name] = options.into?.[name] ?? denseTensor(device, writer.read(place), spec.dtype, spec.shape);
    place += doublesOfTensor(spec.shape.length);
  }
}

function countTensors(inputs: readonly InputTensor[]): number {
  let count = 0;
  for (const value of inputs) if (value !== undefined) count += value instanceof Tensor ? 1 : value.length;
  return count;
}

function countAttrs(attrs: readonly AttrInput[]): number {
  let doubles = 0;
  for (let i = 0; i < attrs.length; i++) {
    const value = attrs[i];
    doubles += typeof value === "object" ? value.length + 1 : 1;
  }
  return doubles;
}

/** A given output must be what the op would have made: kernels walk it by its own geometry. */
function checkInto(op: Op, name: string, into: unknown, { dtype, shape }: OutputSpec): Tensor {
  if (!(into instanceof Tensor)) throw invalid(op.name, `into (${name})`, into, "a tensor");
  if (into.dtype === dtype && sameShape(into.shape, shape)) return into;
  throw new HunyuanError(
    "SHAPE_MISMATCH",
    `${op.name}: ${name} goes into ${into.dtype} ${showShape(into.shape)}, expected ${dtype} ${showShape(shape)}`,
    { op: op.name, argument: name, shapes: [into.shape, shape] },
  );
}

function checkOutput(op: Op, spec: OutputSpec): OutputSpec {
  if (!isAddressable(spec.shape)) {
    throw new HunyuanError(
      "SHAPE_MISMATCH",
      `${op.name}: the result ${showShape(spec.shape)} would have 2^50 elements or more`,
      {
        op: op.name,
        shapes: [spec.shape],
      },
    );
  }
  return spec;
}

function refusal(op: Op, code: number, device: Device): HunyuanError {
  return statusToError(code, op.name, device.name, op.inputNames[mailboxNumber(0)]);
}
