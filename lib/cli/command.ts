/** What all commands have in common: --json, --quiet, --config, an end by Ctrl-C, and exit codes. */
import type { Command } from "commander";
import type { z } from "zod";
import { type Shape, withConfig } from "./config-file.js";
import { exitCodes, failureOf } from "./errors.js";
import { Output } from "./output.js";

/** What a command works with. */
export interface Session {
  readonly out: Output;
  /** Fires at Ctrl-C. */
  readonly signal: AbortSignal;
}

export type Options<S extends Shape> = z.output<z.ZodObject<{ [K in keyof S]: z.ZodOptional<S[K]> }>>;

/**
 * Gives the command its action.
 *
 * @param shape what its options are when they come from --config; undefined: it takes no such file, or one that is
 * something else
 */
export function onCall<S extends Shape>(
  command: Command,
  shape: S | undefined,
  run: (session: Session, options: Options<S>, positionals: readonly (string | undefined)[]) => Promise<void>,
): void {
  command.optionsGroup("General:");
  command.option("--json", "one JSON object a line on standard output: progress, results, errors");
  command.option("-q, --quiet", "no progress");
  if (shape !== undefined) {
    command.option(
      "--config <file>",
      "JSON with these options, by their long names in camelCase; the command line wins",
    );
  }
  command.action(async () => {
    const { json, quiet, ...all } = givenOptions(command);
    const out = new Output({ json: json === true, quiet: quiet === true });
    await interruptible(out, async (signal) => {
      const { config, ...given } = all;
      const file = config === undefined ? undefined : String(config);
      const options = (shape === undefined ? all : await withConfig(shape, given, file)) as Options<S>;
      await run({ out, signal }, options, command.processedArgs);
    });
  });
}

/** What stands on the command line: a default must not go before what the file says. */
function givenOptions(command: Command): Record<string, unknown> {
  const given = Object.entries(command.opts()).filter(([name]) => command.getOptionValueSource(name) === "cli");
  return Object.fromEntries(given);
}

/** Runs the work and sets the exit code. Ctrl-C asks it to end; a second one does not ask. */
async function interruptible(out: Output, work: (signal: AbortSignal) => Promise<void>): Promise<void> {
  const stop = new AbortController();
  const onSignal = () => {
    if (stop.signal.aborted) process.exit(exitCodes.interrupted);
    out.note("stopping…");
    stop.abort(new Error("interrupted"));
  };
  process.on("SIGINT", onSignal);
  process.on("SIGTERM", onSignal);
  try {
    await work(stop.signal);
    out.end();
  } catch (error) {
    const { exitCode, record, lines } = failureOf(error, stop.signal.aborted);
    out.failure(record, lines);
    process.exitCode = exitCode;
  } finally {
    process.off("SIGINT", onSignal);
    process.off("SIGTERM", onSignal);
  }
}
