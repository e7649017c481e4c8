/** Ctrl-C and the system's request to end, as a wish to save and stop. */

const names = ["SIGINT", "SIGTERM"] as const;

/**
 * Calls `stop` at the first SIGINT or SIGTERM. A second one ends the process as if nobody listened: whoever presses Ctrl-C
 * twice will not wait. Dispose of it when the run is over.
 */
export function onStopSignals(stop: (signal: NodeJS.Signals) => void): Disposable {
  let asked = false;
  const heard = (signal: NodeJS.Signals) => {
    if (!asked) {
      asked = true;
      stop(signal);
      return;
    }
    release();
    process.kill(process.pid, signal);
  };
  const release = () => {
    for (const name of names) process.removeListener(name, heard);
  };
  for (const name of names) process.on(name, heard);
  return { [Symbol.dispose]: release };
}
