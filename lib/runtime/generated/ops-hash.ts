/** Written by `npm run gen`; do not edit. */
export const opsHash = "7241918047169027678";
