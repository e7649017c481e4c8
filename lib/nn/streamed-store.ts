/**
 * Parameters that do not fit the device: blocks stay in the checkpoint's files and are read into a few slots of device
 * memory, the next block while one computes (offload "blocks").
 *
 * The files are the only copy. Those that fit the host's memory stay there as the system's page cache, from which a block
 * is read at memory speed; of larger ones each block comes from the disk, every step anew. Neither needs anything to be
 * loaded first, and no second copy of the weights is ever made.
 *
 * Order is kept by the queue: a read into a slot waits, on the transfer lane, for the ops queued before that use it, and
 * ops wait for the reads before them. So find() may only be used for ops that are queued before a parameter of another
 * block is asked for, which is how blocks compute; a tensor kept for longer is disposed of, and says so.
 */
import type { Checkpoint } from "../io/tensor-file.js";
import { copyViewInto } from "../ops/copy.js";
import { zeros } from "../ops/fill.js";
import { checkNumber } from "../runtime/check.js";
import type { Device } from "../runtime/device.js";
import { HunyuanError } from "../runtime/errors.js";
import { alignedUp, tensorIn } from "../tensor/arena.js";
import { bytesOf, type DType } from "../tensor/dtype.js";
import { fileTensor } from "../tensor/file.js";
import { sizeOf } from "../tensor/shape.js";
import type { Tensor } from "../tensor/tensor.js";
import { deviceShape, keepsOrder, toDeviceGeometry } from "./layout.js";
import { type LoadOptions, loadSources } from "./load.js";
import { type ParamStore, Params } from "./params.js";
import { findSources, heldDType, type ParameterSource } from "./sources.js";
import type { Naming, ParameterSpec } from "./spec.js";

export interface StreamOptions extends LoadOptions {
  /** The block of a parameter, such as "double_blocks.3"; undefined for those that stay on the device. */
  readonly groupOf: (spec: ParameterSpec) => string | undefined;
  /** Blocks on the device at once: the one that computes and those being read. Default 2. */
  readonly slots?: number;
}

/** A streamed parameter. */
interface Member {
  readonly source: ParameterSource;
  /** On the device. */
  readonly dtype: DType;
  /** Where in a slot its bytes go as they are in the file. */
  readonly slotStart: number;
  /** Where it goes once converted; undefined when it is used as it was read. */
  readonly convertedStart: number | undefined;
}

interface Group {
  readonly index: number;
  readonly members: readonly Member[];
  readonly slotBytes: number;
  readonly convertedBytes: number;
}

/** Device memory for one block as it is in the files. */
interface Slot {
  readonly block: Tensor<"u8">;
  group: Group | undefined;
}

/**
 * Opens a checkpoint for streaming: what belongs to no block is loaded, blocks are located.
 *
 * Device memory: the resident parameters, `slots` times the largest block as in the files, and, where file and device
 * differ in type or layout, the largest block's converted parameters.
 *
 * @throws what loadParams throws, at once for all keys, shapes and types. What goes wrong with the files later (FILE_ERROR
 * naming key and file) is told by the next wait for the device.
 * @example
 * const groupOf = ({ name }) => /^(double|single)_blocks\.\d+/.exec(name)?.[0];
 * const params = await streamParams(device, checkpoint, ditSpec(config), releasedNaming, { dtype: "bf16", groupOf });
 */
export async function streamParams(
  device: Device,
  checkpoint: Checkpoint,
  specs: readonly ParameterSpec[],
  naming: Naming,
  options: StreamOptions,
): Promise<Params> {
  const { groupOf, slots = 2 } = options;
  checkNumber("streamParams", "slots", slots, { whole: true, min: 2, max: 64 });
  // Of all parameters at once: a foreign tensor may be shared by some that stay and some that do not.
  const sources = findSources(checkpoint, specs, naming);
  const byGroup = new Map<string, ParameterSource[]>();
  for (const source of sources) {
    const name = groupOf(source.spec);
    if (name === undefined) continue;
    const group = byGroup.get(name);
    if (group === undefined) byGroup.set(name, [source]);
    else group.push(source);
  }
  const groups = [...byGroup.values()].map((members, index) => layOut(index, members, options));
  const stay = sources.filter(({ spec }) => groupOf(spec) === undefined);
  const resident = await loadSources(device, stay, options);
  const store = new StreamedStore(device, resident, groups, slots);
  try {
    store.prefetch();
    await device.sync(options.signal === undefined ? {} : { signal: options.signal });
  } catch (error) {
    store.dispose();
    await device.sync().catch(() => {});
    throw error;
  }
  return new Params(store);
}

function layOut(index: number, sources: readonly ParameterSource[], { dtype, keep }: StreamOptions): Group {
  let [slotBytes, convertedBytes] = [0, 0];
  const members = sources.map((source): Member => {
    const held = heldDType(source, keep?.(source.spec) ?? dtype);
    const slotStart = slotBytes;
    slotBytes = alignedUp(slotBytes + source.bytes);
    if (held === source.dtype && keepsOrder(source.spec)) {
      return { source, dtype: held, slotStart, convertedStart: undefined };
    }
    const convertedStart = convertedBytes;
    convertedBytes = alignedUp(convertedBytes + bytesOf(held, sizeOf(source.spec.shape)));
    return { source, dtype: held, slotStart, convertedStart };
  });
  return { index, members, slotBytes, convertedBytes };
}

export class StreamedStore implements ParamStore {
  readonly #device: Device;
  readonly #resident: Params;
  readonly #groups: readonly Group[];
  readonly #groupByName = new Map<string, Group>();
  readonly #slotCount: number;
  #slots: Slot[] = [];
  #converted: Tensor<"u8"> | undefined;
  /** The block whose parameters were asked for last, and its tensors. */
  #active: Group | undefined;
  #views = new Map<string, Tensor>();
  #failuresSeen: number;

  /** streamParams() makes these. */
  constructor(device: Device, resident: Params, groups: readonly Group[], slots: number) {
    this.#device = device;
    this.#resident = resident;
    this.#groups = groups;
    this.#slotCount = Math.min(slots, groups.length);
    this.#failuresSeen = device.failures;
    for (const group of groups) {
      for (const { source } of group.members) this.#groupByName.set(source.spec.name, group);
    }
  }

  find(name: string): Tensor | undefined {
    const group = this.#groupByName.get(name);
    if (group === undefined) return this.#resident.store.find(name);
    if (this.#device.failures !== this.#failuresSeen) this.#startOver();
    if (this.#active !== group) this.#activate(group);
    return this.#views.get(name);
  }

  *names(): Iterable<string> {
    yield* this.#resident.store.names();
    yield* this.#groupByName.keys();
  }

  /** Queues the reading of the first blocks, so that the first find() finds them on the way. */
  prefetch(): void {
    for (const group of this.#groups.slice(0, this.#slotCount)) this.#read(group, group);
  }

  dispose(): void {
    this.#resident.dispose();
    this.#release();
  }

  // As an owner of tensors: those it has are listed in its own fields.
  adopt(): void {}
  forget(): void {}

  /** After a failed or aborted wait nobody knows what the slots hold, or whether they still may be used. */
  #startOver(): void {
    this.#failuresSeen = this.#device.failures;
    this.#release();
  }

  #release(): void {
    this.#deactivate();
    for (const { block } of this.#slots) block.dispose();
    this.#slots = [];
    this.#converted?.dispose();
    this.#converted = undefined;
  }

  #deactivate(): void {
    for (const view of this.#views.values()) view.dispose();
    this.#views.clear();
    this.#active = undefined;
  }

  #activate(group: Group): void {
    this.#deactivate();
    const slot = this.#read(group, group);
    for (const member of group.members) this.#views.set(member.source.spec.name, this.#take(member, slot));
    this.#active = group;
    // The blocks that follow, round and round: after the last comes the next step's first.
    for (let ahead = 1; ahead < this.#slotCount; ahead++) {
      this.#read(this.#groups[(group.index + ahead) % this.#groups.length] as Group, group);
    }
  }

  /** The slot of a group: the one it is in, or the one that is free first, into which its reading is then queued. */
  #read(group: Group, active: Group): Slot {
    const held = this.#slots.find((slot) => slot.group === group);
    if (held !== undefined) return held;
    const slot = this.#slots.length < this.#slotCount ? this.#addSlot() : this.#furthest(active);
    slot.group = undefined; // should a read be refused, the slot holds neither
    for (const { source, slotStart } of group.members) {
      const { dtype, spec, extents, keys } = source;
      const into = tensorIn(slot.block, slotStart, dtype, spec.shape, undefined);
      try {
        fileTensor(this.#device, dtype, spec.shape, extents, { label: keys.join(" + "), into });
      } finally {
        into.dispose();
      }
    }
    slot.group = group;
    return slot;
  }

  /** The slot whose block will be wanted last, counted round from the active one. */
  #furthest(active: Group): Slot {
    const count = this.#groups.length;
    const distance = ({ group }: Slot) => (group === undefined ? count : (group.index - active.index + count) % count);
    return this.#slots.reduce((far, slot) => (distance(slot) > distance(far) ? slot : far));
  }

  #addSlot(): Slot {
    const slot = { block: this.#block(Math.max(...this.#groups.map(({ slotBytes }) => slotBytes))), group: undefined };
    this.#slots.push(slot);
    return slot;
  }

  /** Bytes on the device that belong to the store, not to the scope in which a block happens to compute. */
  #block(bytes: number): Tensor<"u8"> {
    const block = zeros([bytes], { dtype: "u8", device: this.#device });
    block.moveTo(this);
    return block;
  }

  /** The parameter as models want it: on the slot's own bytes, or converted by an op queued now. */
  #take({ source, dtype, slotStart, convertedStart }: Member, slot: Slot): Tensor {
    const shape = deviceShape(source.spec);
    if (convertedStart === undefined) return tensorIn(slot.block, slotStart, dtype, shape, this);
    // One place for all blocks: conversions run on the compute lane, after the ops that used what is there.
    this.#converted ??= this.#block(Math.max(...this.#groups.map(({ convertedBytes }) => convertedBytes)));
    const made = tensorIn(this.#converted, convertedStart, dtype, shape, this);
    const read = tensorIn(slot.block, slotStart, source.dtype, source.spec.shape, undefined);
    try {
      const walked = toDeviceGeometry(source.spec);
      copyViewInto(read, { ...walked, offset: read.offset }, made);
    } finally {
      read.dispose();
    }
    return made;
  }
}

/** @throws INVALID_ARGUMENT unless the parameters stay where they are: streamed ones cannot be replaced. */
export function checkResident(op: string, params: Params): void {
  if (!(params.store instanceof StreamedStore)) return;
  throw new HunyuanError(
    "INVALID_ARGUMENT",
    `${op}: the parameters are streamed block by block (offload); load the model without offload to change them`,
    { op, argument: "params" },
  );
}
