/** Runs one op: checks types and devices, makes the outputs, queues the record, and records the gradient. */
import { binding } from "../runtime/binding.js";
import type { Device } from "../runtime/device.js";
import { HunyuanError } from "../runtime/errors.js";
import { statusToError } from "../runtime/failures.js";
import { mailboxNumber } from "../runtime/mailbox.js";
import { bytesOf, type DType } from "./dtype.js";
import { recordGradient } from "./grad-record.js";
import type { AttrInput, Attrs, AttrSpec, AttrSpecs, Inputs, InputSpec, InputSpecs, InputTensor, KernelView, Op, OutputSpec } from "./op.js";
import { RecordWriter } from "./record.js";
import { sameShape, showShape, sizeOf } from "./shape.js";
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
  const device = checkInputs(op, inputs, options.device);
  // Which names and kinds there are is what checkInputs has just compared with the declaration.
  if (options.into !== undefined && op.vjp !== undefined && !recordingOff() && inputsNeedGrad(inputs)) {
    throw new HunyuanError("GRADIENT_UNAVAILABLE", `${op.name}: what is written into a given tensor carries no gradient`, {
      op: op.name,
    });
  }
  const specs = op.shape(inputs as Inputs<InputSpecs>, attrs as Attrs<AttrSpecs>);
  const temporary: Tensor[] = [];
  const outputs: { [name: string]: Tensor } = {};
  try {
    const places = writeRecord(op, inputs, attrs, specs, options, temporary);
    const code = binding().submit(device.id);
    if (code !== 0) throw refusal(op, code, device);
    // Read every handle before making tensors: nothing may touch the mailbox in between.
    const handles = places.map((place) => (place < 0 ? 0 : writer.read(place)));
    op.outputs.forEach((name, i) => {
      const spec = specs[name];
      if (spec === undefined) return;
      const into = options.into?.[name];
      outputs[name] = into ?? denseTensor(device, handles[i] as number, spec.dtype, spec.shape);
    });
  } finally {
    for (const tensor of temporary) tensor.dispose();
  }
  if (op.vjp !== undefined && !recordingOff()) recordGradient(op, inputs, attrs as Attrs<AttrSpecs>, outputs);
  // The one cast: what comes out has the types that the op's shape rule gave, which R repeats.
  return outputs as { readonly [K in keyof R]: Tensor<R[K]> };
}

function inputsNeedGrad(inputs: { readonly [name: string]: InputTensor }): boolean {
  return Object.values(inputs).some((value) =>
    value instanceof Tensor ? value.requiresGrad : value?.some((tensor) => tensor.requiresGrad),
  );
}

function checkInputs(op: Op, inputs: { readonly [name: string]: InputTensor }, chosen: Device | undefined): Device {
  let device = chosen;
  for (const name of op.inputNames) {
    const spec = op.inputs[name] as InputSpec;
    const value = inputs[name];
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
  const seen = value === null ? "null" : Array.isArray(value) ? "an array" : typeof value;
  const expected = op.inputs[name]?.kind === "list" ? "an array of tensors" : "a tensor";
  return new HunyuanError("INVALID_ARGUMENT", `${op.name}: ${name} must be ${expected}, got ${seen}`, {
    op: op.name,
    argument: name,
  });
}

/** Fills the mailbox; answers the place of each output's handle, −1 for outputs that are not fresh. */
function writeRecord(
  op: Op,
  inputs: { readonly [name: string]: InputTensor },
  attrs: { readonly [name: string]: AttrInput },
  specs: { readonly [name: string]: OutputSpec | undefined },
  options: RunOptions,
  temporary: Tensor[],
): number[] {
  // Copies of strided views are ops of their own, so they go before this record is begun.
  const ready = op.inputNames.map((name) => prepare(op.inputs[name] as InputSpec, inputs[name], options.views?.[name], temporary));
  let tensors = op.outputs.length;
  for (const list of ready) tensors += list.length;
  let attrDoubles = 0;
  for (const name of op.attrNames) {
    const value = attrs[name];
    attrDoubles += Array.isArray(value) ? value.length + 1 : 1;
  }
  writer.begin(op.id, op.inputNames.length + op.outputs.length, 0, tensors, attrDoubles);
  op.inputNames.forEach((name, i) => {
    const list = ready[i] as readonly Tensor[];
    const { written } = op.inputs[name] as InputSpec;
    const view = options.views?.[name];
    writer.count(list.length);
    for (const tensor of list) writer.tensor(tensor, view ?? tensor, written);
  });
  const places = op.outputs.map((name) => {
    const spec = specs[name];
    writer.count(spec === undefined ? 0 : 1);
    if (spec === undefined) return -1;
    const into = options.into?.[name];
    if (into === undefined) return writer.output(checkOutput(op, spec));
    writer.tensor(checkInto(op, name, into, spec), into, true);
    return -1;
  });
  let written = 0;
  for (const name of op.attrNames) {
    written += writer.attr(op.attrs[name] as AttrSpec, attrs[name] as AttrInput);
  }
  writer.setAttrDoubles(written);
  return places;
}

function prepare(spec: InputSpec, value: InputTensor, view: KernelView | undefined, temporary: Tensor[]): readonly Tensor[] {
  if (value === undefined) return [];
  const list = value instanceof Tensor ? [value] : value;
  if (spec.layout === "rows" || view !== undefined) return list;
  return list.map((tensor) => {
    if (tensor.isDense || spec.written) return tensor;
    const dense = Tensor.toDense(tensor, tensor.dtype);
    tensor.device.insertedCopies++;
    temporary.push(dense);
    return dense;
  });
}

/** A given output must be what the op would have made: kernels walk it by its own geometry. */
function checkInto(op: Op, name: string, into: Tensor, { dtype, shape }: OutputSpec): Tensor {
  if (into.dtype === dtype && sameShape(into.shape, shape)) return into;
  throw new HunyuanError(
    "SHAPE_MISMATCH",
    `${op.name}: ${name} goes into ${into.dtype} ${showShape(into.shape)}, expected ${dtype} ${showShape(shape)}`,
    { op: op.name, argument: name, shapes: [into.shape, shape] },
  );
}

function checkOutput(op: Op, spec: OutputSpec): OutputSpec {
  if (!Number.isSafeInteger(bytesOf(spec.dtype, sizeOf(spec.shape)))) {
    throw new HunyuanError("SHAPE_MISMATCH", `${op.name}: the result ${showShape(spec.shape)} would have 2^53 bytes or more`, {
      op: op.name,
      shapes: [spec.shape],
    });
  }
  return spec;
}

function refusal(op: Op, code: number, device: Device): HunyuanError {
  return statusToError(code, op.name, device.name, op.inputNames[mailboxNumber(0)]);
}
