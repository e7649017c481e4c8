// What every script that runs programs under sanitizers has to know of them.

/** Whether a sanitizer complained; it may go on after a finding, so that the exit code alone might not tell. */
export function complains(stderr) {
  return /ERROR: AddressSanitizer|ERROR: LeakSanitizer|WARNING: ThreadSanitizer|runtime error:/.test(stderr);
}

/**
 * The command that runs a program at fixed addresses, where its output shows that ThreadSanitizer needs it: some kernels
 * randomise addresses more than this compiler's can follow. Undefined where it does not.
 */
export function atFixedAddresses(stderr, program, args) {
  if (!/unexpected memory mapping/.test(stderr)) return undefined;
  return ["setarch", ["--addr-no-randomize", program, ...args]];
}
