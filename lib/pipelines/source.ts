/** Where a model comes from: a folder here, or a repository on the hub. */
import { access } from "node:fs/promises";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { invalid } from "../runtime/check.js";
import { HunyuanError } from "../runtime/errors.js";
import { findDemoModel } from "./demo-model.js";

export type ModelSource =
  | { readonly kind: "folder"; readonly path: string }
  | { readonly kind: "hub"; readonly id: string; readonly revision?: string };

const hubId = /^([\w.-]+\/[\w.-]+)(?:@([\w./-]+))?$/;

/** What begins like a path is one, whether it is there or not, so that a typing error does not go to the hub. */
const looksLocal = (source: string) => /^([./~\\]|[A-Za-z]:[\\/])/.test(source);

/**
 * An existing path, or anything that starts with `.`, `/` or `~`, is local; `owner/name` or `owner/name@revision` is on
 * the hub; undefined is the demo model of the package.
 *
 * @throws FILE_ERROR for a local path where nothing is, and for a package without the demo model; INVALID_ARGUMENT for what
 * is neither
 * @example await resolveSource("hunyuanvideo-community/HunyuanVideo@main")
 */
export async function resolveSource(source: unknown): Promise<ModelSource> {
  const op = "HunyuanVideo.load";
  if (source === undefined) return { kind: "folder", path: await findDemoModel() };
  const expected = 'a folder, or "owner/name" of a repository on the hub, with "@revision" if need be';
  if (typeof source !== "string" || source === "") throw invalid(op, "source", source, expected);
  const path = resolve(/^~(?=$|[/\\])/.test(source) ? join(homedir(), source.slice(1)) : source);
  const isThere = await access(path).then(
    () => true,
    () => false,
  );
  if (isThere) return { kind: "folder", path };
  if (looksLocal(source)) {
    const message = `${op}: there is nothing at ${path}. Give the folder of a model, or "owner/name" of one on the hub`;
    throw new HunyuanError("FILE_ERROR", message, { op, file: path });
  }
  const [, id, revision] = hubId.exec(source) ?? [];
  if (id === undefined) throw invalid(op, "source", source, expected);
  return { kind: "hub", id, ...(revision === undefined ? {} : { revision }) };
}
