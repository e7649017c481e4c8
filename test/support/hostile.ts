/** Checkpoints that must be refused: with a typed error that names the file, in under a second. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { openCheckpoint } from "../../lib/io/checkpoint.js";
import type { HunyuanError } from "../../lib/tensor.js";
import { rejection } from "./refusal.js";
import { within } from "./soon.js";

export interface TemporaryFolder {
  readonly path: string;
  /** Writes a file and answers its path. */
  write(name: string, bytes: Uint8Array | string): string;
  remove(): void;
}

export function temporaryFolder(): TemporaryFolder {
  const path = mkdtempSync(join(tmpdir(), "hunyuan-test-"));
  return {
    path,
    write(name, bytes) {
      const file = join(path, name);
      writeFileSync(file, bytes);
      return file;
    },
    remove: () => rmSync(path, { recursive: true, force: true }),
  };
}

export interface Refusal {
  readonly message: RegExp;
  /** In the details; the message must hold it too. */
  readonly key?: string;
  /** Default: what was opened. */
  readonly file?: string;
}

/** Opens and expects CHECKPOINT_INVALID with what is given, within a second. */
export async function refusesToOpen(path: string, { message, key, file = path }: Refusal): Promise<HunyuanError> {
  const checkTime = within();
  const error = await rejection(openCheckpoint(path));
  checkTime();
  assert.is(error.code, "CHECKPOINT_INVALID", error.message);
  assert.match(error.message, message);
  assert.ok(error.message.includes(file), `${error.message} names ${file}`);
  const details = error.details as { readonly file?: string; readonly key?: string };
  assert.is(details.file, file);
  assert.is(details.key, key, error.message);
  if (key !== undefined) assert.ok(error.message.includes(key.slice(0, 40)), `${error.message} names ${key}`);
  return error;
}
