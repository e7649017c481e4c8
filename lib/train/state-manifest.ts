/** The JSON beside a saved state's tensors: what step it is of, everything that is no tensor, and checksums of all. */
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { z } from "zod";
import { fileError, invalidCheckpoint } from "../io/failure.js";
import type { JsonValue } from "./stateful.js";

const sha256Hex = z.string().regex(/^[0-9a-f]{64}$/);

const manifestSchema = z.strictObject({
  format: z.literal("hunyuan-native training state"),
  version: z.literal(1),
  /** Steps that have been made. */
  step: z.number().int().min(0),
  /** Validation loss at this step, where it was measured: what decides on the best. */
  validation: z.number().optional(),
  /** Checksum of each tensor's bytes. */
  tensors: z.record(z.string(), sha256Hex),
  /** What the parts' `data` gave. */
  data: z.record(z.string(), z.json()),
});

export interface Manifest {
  readonly step: number;
  readonly validation?: number | undefined;
  readonly tensors: Readonly<Record<string, string>>;
  readonly data: Readonly<Record<string, JsonValue>>;
}

const fileSchema = z.strictObject({ sha256: sha256Hex, state: z.unknown() });

/** The manifest as it is written: its own checksum, then its contents. */
export function manifestBytes(manifest: Manifest): Uint8Array {
  const text = JSON.stringify({ format: "hunyuan-native training state", version: 1, ...manifest });
  return Buffer.from(`{"sha256":"${sha256(text)}","state":${text}}\n`);
}

/** @throws CHECKPOINT_INVALID for a manifest that is cut off, changed, or of another version; FILE_ERROR */
export async function readManifest(path: string): Promise<Manifest> {
  const text = await readFile(path, "utf8").catch((error) => Promise.reject(fileError("readManifest", path, error)));
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw invalidCheckpoint(path, "is no JSON: it is cut off or damaged");
  }
  const file = fileSchema.safeParse(json);
  if (!file.success) throw invalidCheckpoint(path, "is not the manifest of a training state");
  // What this library has written comes out the same when it is written again.
  if (sha256(JSON.stringify(file.data.state)) !== file.data.sha256) throw invalidCheckpoint(path, "is damaged");
  const manifest = manifestSchema.safeParse(file.data.state);
  if (manifest.success) return manifest.data;
  const [issue] = manifest.error.issues;
  throw invalidCheckpoint(path, `${issue?.path.join(".")}: ${issue?.message}; saved by another version?`);
}

export function sha256(bytes: string | Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
