/** The command line. A command's file is loaded when it is the one that was called: some bring a whole pipeline along. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Command, CommanderError } from "commander";
import { packageRoot } from "../runtime/binding.js";
import { exitCodes, failureOf } from "./errors.js";

interface Entry {
  readonly summary: string;
  /** What gives the command its arguments, options and action. */
  readonly load: () => Promise<(command: Command) => void>;
}

const commands: { readonly [name: string]: Entry } = {
  generate: {
    summary: "make a video from a prompt",
    load: async () => (await import("./generate.js")).addGenerate,
  },
  decode: {
    summary: "make the video of finished latents",
    load: async () => (await import("./decode.js")).addDecode,
  },
  encode: {
    summary: "make latents of a video or a picture",
    load: async () => (await import("./encode.js")).addEncode,
  },
  estimate: {
    summary: "say what a video will take in memory and work; nothing is loaded",
    load: async () => (await import("./estimate.js")).addEstimate,
  },
  inspect: {
    summary: "say what a checkpoint is: its parts, sizes, types, licence, and what is missing; how a video was made",
    load: async () => (await import("./inspect.js")).addInspect,
  },
  convert: {
    summary: "write a transformer or an autoencoder as safetensors, with other names or in another type",
    load: async () => (await import("./convert.js")).addConvert,
  },
  train: {
    summary: "train a transformer, a LoRA, a student of guidance or an autoencoder as a JSON file says",
    load: async () => (await import("./train.js")).addTrain,
  },
  eval: {
    summary: "make videos for a list of prompts and score them by their pixels",
    load: async () => (await import("./eval.js")).addEval,
  },
  data: {
    summary: "look at the clips and captions that a model is to be trained on",
    load: async () => (await import("./data.js")).addData,
  },
  doctor: {
    summary: "say what this machine can run, and what to do about what it cannot",
    load: async () => (await import("./doctor.js")).addDoctor,
  },
  build: {
    summary: "build the native libraries from source (needs g++ and CMake)",
    load: async () => (await import("./build.js")).addBuild,
  },
};

const help = `
Examples:
  hunyuan doctor
  hunyuan estimate --width 960 --height 544 --frames 129
  hunyuan generate --model ./HunyuanVideo "A cat walks on the grass, realistic style." -o cat.mp4

hunyuan <command> --help says more. Exit codes: 0 done, 1 failed, 2 the call makes no sense, 130 interrupted.
Environment: HF_HOME, HF_TOKEN, HF_ENDPOINT and HF_HUB_OFFLINE are honoured for models on the hub.`;

function packageVersion(): string {
  const { version } = JSON.parse(readFileSync(join(packageRoot, "package.json"), "utf8")) as { version: string };
  return version;
}

/** @param called names that stand on the command line: of these the options are needed */
async function program(called: readonly string[]): Promise<Command> {
  const made = new Command("hunyuan")
    .description("HunyuanVideo inside Node: videos from words, on this machine")
    .version(packageVersion())
    .addHelpText("after", help)
    .showHelpAfterError("(--help says what there is)")
    .exitOverride();
  for (const [name, { summary, load }] of Object.entries(commands)) {
    const command = made.command(name).description(summary);
    if (called.includes(name)) (await load())(command);
  }
  return made;
}

/** Runs one command line, as in `main(process.argv)`; a failure sets `process.exitCode`. */
export async function main(argv: readonly string[]): Promise<void> {
  try {
    // "generate …", or "help generate".
    await (await program(argv.slice(2, 4))).parseAsync([...argv]);
  } catch (error) {
    // Commander has said what is wrong, or shown the help that was asked for.
    if (!(error instanceof CommanderError)) throw error;
    process.exitCode = error.exitCode === 0 ? exitCodes.done : exitCodes.usage;
    if (error.exitCode !== 0 && argv.includes("--json")) {
      const { record } = failureOf(error, false);
      process.stdout.write(`${JSON.stringify({ event: "error", ...record })}\n`);
    }
  }
}
