/** Clips and pictures in and out of files, with what they say of how they were made. */
export { backendVariable, findVideoBackend } from "./backend.js";
export type { SheetOptions } from "./contact-sheet.js";
export { type Fit, fits, type SizeOptions } from "./fit.js";
export { type MediaFormat, mediaFormats } from "./format.js";
export { type FrameSource, firstFrame, frameSource, type Picture } from "./frames.js";
export { type FoundMetadata, generatedMark, type Json, type MediaMetadata } from "./metadata.js";
export { encodeImage, type ReadImageOptions, readImage, type WritePictureOptions, writeImage } from "./picture.js";
export { type ReadVideoOptions, readVideo } from "./read.js";
export { readMetadata } from "./read-metadata.js";
export { checkEncoder, encodeVideo, type WriteProgress, type WriteVideoOptions, writeVideo } from "./write.js";
