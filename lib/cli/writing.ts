/** From finished videos to files. */
import { access, constants, stat } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { type Command, Option } from "commander";
import { z } from "zod";
import { checkEncoder, type MediaFormat, mediaFormats } from "../io/media/index.js";
import type { Video } from "../pipelines/video.js";
import { isHunyuanError } from "../runtime/errors.js";
import type { Session } from "./command.js";
import { messageOf, UsageError } from "./errors.js";
import { showBytes } from "./format.js";
import { defined } from "./model-options.js";
import { numberOf, wholeOf } from "./values.js";

export const writingShape = {
  output: z.string(),
  format: z.enum(mediaFormats),
  crf: z.number(),
  quality: z.int(),
  metadata: z.boolean(),
} as const;

export interface WritingOptions {
  readonly output?: string | undefined;
  readonly format?: MediaFormat | undefined;
  readonly crf?: number | undefined;
  readonly quality?: number | undefined;
  readonly metadata?: boolean | undefined;
}

export function addWritingOptions(command: Command): Command {
  return command
    .optionsGroup("Output:")
    .option("-o, --output <path>", "mp4, webm, gif, webp or png file; a path without an ending: a folder of frames")
    .addOption(new Option("--format <name>", "in place of what the path's ending says").choices(mediaFormats))
    .option(
      "--crf <number>",
      "quality of mp4 (0 … 51, default 17) and webm (0 … 63, default 24); lower is better",
      numberOf,
    )
    .option("--quality <number>", "quality of webp, 1 … 100 (default: 90)", wholeOf)
    .option("--no-metadata", "do not write prompt, seed, settings and the mark that the content was generated");
}

/**
 * That the file can be written, asked before hours are spent on what goes into it.
 *
 * @throws UsageError without an output, or where its folder is missing; ENCODER_MISSING with what to install
 */
export async function checkOutput({ output, format }: WritingOptions, what: string): Promise<string> {
  if (output === undefined) throw new UsageError(`where to write ${what} is not given: -o out.mp4`);
  const folder = dirname(resolve(output));
  const found = await stat(folder).catch(() => undefined);
  if (!found?.isDirectory()) throw new UsageError(`-o ${output}: there is no folder ${folder}`);
  await access(folder, constants.W_OK).catch(() => {
    throw new UsageError(`-o ${output}: ${folder} cannot be written to`);
  });
  try {
    await checkEncoder(output, format);
  } catch (error) {
    if (isHunyuanError(error, "INVALID_ARGUMENT")) throw new UsageError(messageOf(error));
    throw error;
  }
  return output;
}

/** What machines are told of a file that was written. */
export interface Written {
  readonly path: string;
  readonly width: number;
  readonly height: number;
  readonly numFrames: number;
  readonly fps: number;
  readonly seed: number | undefined;
  readonly bytes: number | undefined;
}

export async function writeVideo(
  { out, signal }: Session,
  video: Video,
  path: string,
  options: WritingOptions,
): Promise<Written> {
  const { format, crf, quality, metadata } = options;
  await video.save(path, {
    ...defined({ format, crf, quality }),
    ...(metadata === false ? { metadata } : {}),
    signal,
    onProgress: ({ frame, frames }) => {
      out.progress({ stage: "write", done: frame, total: frames, unit: "frames" });
    },
  });
  const { width, height, numFrames, fps, seed } = video;
  const written = await stat(path);
  const bytes = written.isFile() ? written.size : undefined;
  return { path, width, height, numFrames, fps, seed, bytes };
}

/** The same for people. */
export function describeWritten({ path, width, height, numFrames, fps, seed, bytes }: Written): string {
  const size = bytes === undefined ? "" : `, ${showBytes(bytes)}`;
  const from = seed === undefined ? "" : `, seed ${seed}`;
  const frames = numFrames === 1 ? "1 frame" : `${numFrames} frames at ${fps} fps`;
  return `${path}: ${width}×${height}, ${frames}${from}${size}`;
}
