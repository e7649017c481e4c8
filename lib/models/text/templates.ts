/**
 * The texts that prompts are put into, byte for byte as the weights were trained with, and how the encoder's output is cut.
 *
 * @see Tencent/HunyuanVideo and Tencent/HunyuanVideo-I2V, hyvideo/constants.py
 */

/** What is made of a prompt: a video, one picture, or a video that begins with a picture. */
export type PromptKind = "video" | "image" | "imageToVideo";

export interface PromptTemplate {
  /** Before the prompt. */
  readonly head: string;
  /** After it. */
  readonly tail: string;
  /** Tokens of the head, begin-of-text included: they are cut from the output. */
  readonly cropStart: number;
  /** Tokens of head, prompt and tail together; what is longer loses its end. */
  readonly maxLength: number;
}

/** Tokens that a prompt may have in a video's template. */
export const textLength = 256;

/** Tokens that CLIP may read. */
export const pooledTextLength = 77;

const user = "<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n";
const system = "<|start_header_id|>system<|end_header_id|>\n\n";

const videoAspects =
  "1. The main content and theme of the video." +
  "2. The color, shape, size, texture, quantity, text, and spatial relationships of the objects." +
  "3. Actions, events, behaviors temporal relationships, physical movement changes of the objects." +
  "4. background environment, light, style and atmosphere." +
  "5. camera angles, movements, and transitions used in the video:";

export const promptTemplates = {
  video: {
    head: `${system}Describe the video by detailing the following aspects: ${videoAspects}${user}`,
    tail: "<|eot_id|>",
    cropStart: 95,
    maxLength: textLength + 95,
  },
  // The length is the video template's, which leaves 315 tokens to the prompt.
  image: {
    head:
      `${system}Describe the image by detailing the color, shape, size, texture, quantity, text, ` +
      `spatial relationships of the objects and background:${user}`,
    tail: "<|eot_id|>",
    cropStart: 36,
    maxLength: textLength + 95,
  },
  imageToVideo: {
    head:
      `${system}<image>\nDescribe the video by detailing the following aspects according to the reference image: ` +
      `${videoAspects}<|eot_id|>\n\n<|start_header_id|>user<|end_header_id|>\n\n`,
    tail: "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
    cropStart: 103,
    maxLength: textLength + 103,
  },
} as const satisfies { readonly [K in PromptKind]: PromptTemplate };

/** The prompt in its template. */
export function applyTemplate(prompt: string, { head, tail }: PromptTemplate): string {
  return head + prompt + tail;
}

/** Where the picture's tokens stand in the image-to-video template. */
export const imageSlot = {
  /** Place of the token `<image>`, which the picture's tokens take the place of. */
  start: 5,
  /** Tokens of a picture. */
  length: 576,
  /** Spelling of the token. */
  token: "<image>",
  /** Ends the headers of system, system's text, user and assistant; the last one is where the assistant would speak. */
  doubleReturn: "\n\n",
  /** How many of those a prompt has that was not cut off. */
  doubleReturns: 4,
  /** Tokens before the last of them that are cut from the output: end of the prompt, and the assistant's header. */
  assistantLength: 4,
} as const;

/** Every n-th of a picture's tokens is used, by how the image enters the transformer. */
export const imageInterleave = { token_replace: 4, latent_concat: 2 } as const;

/** What the original has for a negative prompt where none is given. */
export const defaultNegativePrompt =
  "Aerial view, aerial view, overexposed, low quality, deformation, a poor composition, bad hands, bad teeth, bad eyes, bad limbs, distortion";

/** The same for image-to-video. */
export const defaultNegativePromptI2v =
  "deformation, a poor composition and deformed video, bad teeth, bad eyes, bad limbs";
