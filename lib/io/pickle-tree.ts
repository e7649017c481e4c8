/** Whether what a pickle built is a tree of bounded depth: shared parts are fine, cycles are not. */
import { invalidCheckpoint } from "./failure.js";
import { PickleDict, PickleList, PickleTuple, type PickleValue } from "./pickle.js";

/** Optimizer states nest some five levels. */
const maxDepth = 64;

type Container = PickleList | PickleTuple | PickleDict;

/** A container whose parts are being walked. */
interface Visit {
  readonly container: Container;
  readonly key: string;
  readonly parts: Iterator<readonly [PickleValue, PickleValue]>;
}

/** @throws CHECKPOINT_INVALID naming the file and the path of keys that leads to the cycle */
export function checkTree(file: string, root: PickleValue): void {
  if (!isContainer(root)) return;
  const done = new Set<Container>();
  const open = new Set<Container>([root]);
  const path: Visit[] = [{ container: root, key: "", parts: partsOf(root) }];
  for (let visit = path.at(-1); visit !== undefined; visit = path.at(-1)) {
    const { value: part, done: ended } = visit.parts.next();
    if (ended) {
      path.pop();
      open.delete(visit.container);
      done.add(visit.container);
      continue;
    }
    const [key, value] = part;
    if (!isContainer(value) || isEmpty(value) || done.has(value)) continue;
    const names = () => [...path.slice(1).map((step) => step.key), nameOf(key)].join(".");
    if (open.has(value)) throw invalidCheckpoint(file, "the pickle contains itself there", names());
    if (path.length === maxDepth) throw invalidCheckpoint(file, `is nested deeper than ${maxDepth} levels`, names());
    open.add(value);
    path.push({ container: value, key: nameOf(key), parts: partsOf(value) });
  }
}

function isContainer(value: PickleValue): value is Container {
  return value instanceof PickleList || value instanceof PickleTuple || value instanceof PickleDict;
}

function isEmpty(container: Container): boolean {
  return (container instanceof PickleDict ? container.entries.size : container.items.length) === 0;
}

/** Keys of dictionaries are walked too, under a name of their own. */
function* partsOf(container: Container): Generator<readonly [PickleValue, PickleValue]> {
  if (container instanceof PickleDict) {
    for (const [key, value] of container.entries) {
      if (isContainer(key)) yield ["(key)", key];
      yield [key, value];
    }
  } else for (const [i, value] of container.items.entries()) yield [i, value];
}

function nameOf(key: PickleValue): string {
  return typeof key === "string" || typeof key === "number" ? String(key).slice(0, 80) : "(key)";
}
