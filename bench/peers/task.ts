/** Work described so that a program in another language can do the same: a kind, and its sizes and types. */
export interface PeerTask {
  readonly kind: string;
  readonly dtype: "f32" | "bf16";
  readonly [parameter: string]: number | boolean | string | readonly number[];
}
