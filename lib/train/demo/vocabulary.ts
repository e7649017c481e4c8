/** What the demo clips show: a shape of one colour that does one thing on one background, and which of these never meet in training. */

export type Rgb = readonly [red: number, green: number, blue: number];

/** sRGB. */
export const colours = {
  red: [225, 30, 35],
  green: [30, 165, 60],
  blue: [35, 80, 235],
  yellow: [250, 215, 30],
  orange: [250, 125, 15],
  purple: [140, 50, 205],
  cyan: [35, 205, 225],
  pink: [250, 120, 185],
} as const satisfies { readonly [name: string]: Rgb };

/** Colours that no demo clip for training has: to teach a trained model a new word. */
export const extraColours = {
  brown: [130, 72, 32],
  lime: [170, 240, 40],
} as const satisfies { readonly [name: string]: Rgb };

export type DemoColour = keyof typeof colours | keyof typeof extraColours;
/** A colour that has no name, as in CSS: "#82c41e". */
export type HexColour = `#${string}`;

export const colourNames = Object.keys(colours) as readonly (keyof typeof colours)[];
export const shapeNames = ["circle", "square", "triangle", "cross"] as const;
export const motionNames = ["left", "right", "up", "down", "clockwise", "growing", "shrinking", "still"] as const;
export const backgroundNames = ["black", "white", "grey", "navy", "gradient"] as const;

export type DemoShape = (typeof shapeNames)[number];
export type DemoMotion = (typeof motionNames)[number];
export type DemoBackground = (typeof backgroundNames)[number];

/** Colours at the top and at the bottom. */
export const backgrounds: Readonly<Record<DemoBackground, readonly [top: Rgb, bottom: Rgb]>> = {
  black: [
    [0, 0, 0],
    [0, 0, 0],
  ],
  white: [
    [255, 255, 255],
    [255, 255, 255],
  ],
  grey: [
    [128, 128, 128],
    [128, 128, 128],
  ],
  navy: [
    [10, 18, 72],
    [10, 18, 72],
  ],
  gradient: [
    [24, 26, 32],
    [200, 202, 208],
  ],
};

/** RGB of a colour by its name, or of six digits after a #. */
export function rgbOf(colour: DemoColour | HexColour): Rgb {
  if (!colour.startsWith("#")) return { ...colours, ...extraColours }[colour as DemoColour];
  const [red, green, blue] = [1, 3, 5].map((at) => Number.parseInt(colour.slice(at, at + 2), 16));
  return [red as number, green as number, blue as number];
}

/** What a caption says. */
export interface DemoSubject {
  readonly colour: DemoColour | HexColour;
  readonly shape: DemoShape;
  readonly motion: DemoMotion;
  readonly background: DemoBackground;
}

export type DemoCombination = Omit<DemoSubject, "background">;

/**
 * Whether a combination of colour, shape and motion is kept out of training: 32 of the 256, as in a Latin square. Each
 * pair of colour and shape and each pair of shape and motion lacks one partner, so every pair was seen.
 */
export function isHeldOut({ colour, shape, motion }: DemoCombination): boolean {
  const place = Object.keys(colours).indexOf(colour);
  return place >= 0 && (place + 2 * shapeNames.indexOf(shape) + motionNames.indexOf(motion)) % 8 === 3;
}

/** All 256 combinations, or only those that training sees, or only those it does not. */
export function combinations(which: "all" | "training" | "held out" = "all"): DemoCombination[] {
  const all = colourNames.flatMap((colour) =>
    shapeNames.flatMap((shape) => motionNames.map((motion) => ({ colour, shape, motion }))),
  );
  return which === "all" ? all : all.filter((one) => isHeldOut(one) === (which === "held out"));
}
