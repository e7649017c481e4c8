/** Frame rates as the containers hold them: fractions, delays, time stamps. */

export interface Fraction {
  readonly num: number;
  readonly den: number;
}

/** A rate as a fraction: whole numbers and the n/1.001 of television exactly, others to a thousandth. */
export function rateFraction(fps: number): Fraction {
  const whole = Math.round(fps);
  if (Math.abs(fps - whole) < 1e-6) return { num: whole, den: 1 };
  const television = Math.round(fps * 1.001);
  if (Math.abs(fps - television / 1.001) < 5e-3) return { num: television * 1000, den: 1001 };
  return { num: Math.max(1, Math.round(fps * 1000)), den: 1000 };
}

/** Browsers play a GIF frame of under two hundredths of a second ten times too long. */
const minDelayUnits = { gif: 2, webp: 1 } as const;
const unitMs = { gif: 10, webp: 1 } as const;

/**
 * How long each frame of an animation is shown, in ms. GIF counts hundredths and WebP thousandths of a second; the
 * rounding is spread, so that the whole has the right length: 24 fps as GIF is 40, 40, 40, 50, 40, 40 … ms.
 * A GIF has at most 50 frames a second: faster clips play slower.
 */
export function frameDelays(fps: number, numFrames: number, format: "gif" | "webp"): number[] {
  const unit = unitMs[format];
  const perFrame = Math.max(1000 / fps / unit, minDelayUnits[format]);
  // The last of n frames ends at round(n × perFrame): whatever is lost in one frame is made up in the next.
  return Array.from(
    { length: numFrames },
    (_, i) => unit * (Math.round((i + 1) * perFrame) - Math.round(i * perFrame)),
  );
}

/** The rate that delays stand for: the whole number whose delays they are, else frames per time. */
export function rateOfDelays(delays: readonly number[], format: "gif" | "webp"): number {
  const total = delays.reduce((sum, delay) => sum + delay, 0);
  // Pictures without a delay are played at ten a second.
  if (total <= 0) return 10;
  const average = (1000 * delays.length) / total;
  for (const guess of nearbyRates(average)) {
    const expected = frameDelays(guess, delays.length, format);
    if (expected.every((delay, i) => delay === delays[i])) return guess;
  }
  return average;
}

/** The rate of time stamps in seconds that are rounded to `tick`; `nominal` is what the file claims, if it does. */
export function rateOfTimes(times: ArrayLike<number>, tick: number, nominal?: number): number {
  const count = times.length;
  const first = times[0] ?? 0;
  const span = (times[count - 1] ?? 0) - first;
  if (count < 2 || span <= 0) return nominal !== undefined && nominal > 0 ? nominal : 24;
  const average = (count - 1) / span;
  const guesses = nominal !== undefined && nominal > 0 ? [nominal, ...nearbyRates(average)] : nearbyRates(average);
  const fits = (guess: number) => {
    for (let i = 1; i < count; i++) if (Math.abs((times[i] ?? 0) - first - i / guess) > tick + 1e-9) return false;
    return true;
  };
  return guesses.find(fits) ?? average;
}

/** Rates that a measured one may mean: the common ones first, because few frames fit several. */
function nearbyRates(average: number): number[] {
  const common = [24, 25, 30, 50, 60, 16, 15, 12, 8, 10, 20].filter((rate) => Math.abs(rate / average - 1) < 0.2);
  common.sort((a, b) => Math.abs(a - average) - Math.abs(b - average));
  const whole = Math.round(average);
  const rates = whole > 0 ? [whole, whole / 1.001] : [];
  return [...rates, ...common];
}

/**
 * Which frames to take so that they run at `fps` from `start` seconds after the first: indexes into `times`, each the
 * last frame that is shown by then. Without `fps` every frame from `start` on.
 *
 * @param times when each frame is shown, in seconds, rising
 * @param frameSeconds how long the last frame is shown
 */
export function pickFrames(
  times: ArrayLike<number>,
  frameSeconds: number,
  { fps, start = 0, maxFrames = Infinity }: { fps?: number | undefined; start?: number; maxFrames?: number },
): number[] {
  const picked: number[] = [];
  if (times.length === 0) return picked;
  const first = times[0] ?? 0;
  const slack = 1e-6;
  if (fps === undefined) {
    for (let i = 0; i < times.length && picked.length < maxFrames; i++) {
      if ((times[i] ?? 0) - first + slack >= start) picked.push(i);
    }
    return picked;
  }
  const end = (times[times.length - 1] ?? 0) - first + frameSeconds;
  // Half a millisecond: a file that counts in ms may show a frame that much late.
  const early = Math.min(6e-4, frameSeconds / 4);
  let index = 0;
  for (let k = 0; picked.length < maxFrames; k++) {
    const time = start + k / fps;
    if (time >= end - early) break;
    while (index + 1 < times.length && (times[index + 1] ?? 0) - first <= time + early) index++;
    picked.push(index);
  }
  return picked;
}
