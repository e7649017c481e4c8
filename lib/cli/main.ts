#!/usr/bin/env node
/** What `npx hunyuan` runs. */
import { main } from "./program.js";

// Who reads through `head` has seen enough.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit(0);
  throw error;
});

await main(process.argv);
