// uvu prints an error's `details` with split(), and loses the whole report when they are no text, as in our errors: a
// test then fails without a word. Test processes start with this file, which has uvu ask node:util to print such details.
import { register } from "node:module";

register("./details.mjs", import.meta.url);
