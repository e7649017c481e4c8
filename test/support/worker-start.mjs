// Starts a TypeScript worker: Node 20 passes no loader on to workers.
import { pathToFileURL } from "node:url";
import { workerData } from "node:worker_threads";
import { register } from "tsx/esm/api";

register();
await import(pathToFileURL(workerData.file).href);
