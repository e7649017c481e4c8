/** Written by `npm run gen`; do not edit. */
export const opsHash = "15685437624170818606";
