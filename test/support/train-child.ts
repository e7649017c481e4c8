/**
 * The small run in a process of its own: `train-child.ts FOLDER`. Says "step N" for each step, and at the end "done HASH".
 * It listens to SIGINT and SIGTERM; "stopped N" is said when it was told to stop.
 */
import { openDevice } from "../../lib/tensor.js";
import { smallRun } from "./train-run.js";

const [, , folder = ""] = process.argv;
const device = openDevice("cpu");
const say = (text: string) => process.stdout.write(`${text}\n`);
const { finished, step, sha256 } = await smallRun(device, {
  folder,
  stopSignals: true,
  onEvent: (event) => {
    if (event.kind === "step") say(`step ${event.step}`);
  },
});
say(finished ? `done ${sha256}` : `stopped ${step}`);
await device.dispose();
