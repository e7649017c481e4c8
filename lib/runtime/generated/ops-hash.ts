/** Written by `npm run gen`; do not edit. */
export const opsHash = "1513396206080816422";
