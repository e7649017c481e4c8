/** Curves as inline SVG: no script, no fonts to fetch, colours from the page's style. */

export interface Series {
  readonly name: string;
  /** [step, value], steps rising; values that are not finite leave a gap. */
  readonly points: readonly (readonly [x: number, y: number])[];
  /** "line": as it is. "smooth": a faint line, and over it the mean of neighbours. "dots": few measurements, marked. */
  readonly style: "line" | "smooth" | "dots";
  /** Which of the page's colours, 0 … 3. */
  readonly colour: number;
}

export interface ChartOptions {
  readonly title: string;
  /** A logarithmic axis where all values are above 0 and span more than a factor of five. Default true. */
  readonly log?: boolean | undefined;
}

const [width, height] = [720, 260];
const box = { left: 64, right: 26, top: 14, bottom: 30 } as const;
/** As many points as the width can show. */
const mostPoints = 700;

type Point = readonly [x: number, y: number];
type Axis = (value: number) => number;

/**
 * A chart of some curves over steps.
 *
 * @example lineChart([{ name: "loss", points: [[1, 0.9], [2, 0.7]], style: "line", colour: 0 }], { title: "Loss" })
 */
export function lineChart(series: readonly Series[], { title, log = true }: ChartOptions): string {
  const shown = series
    .map((one) => ({ ...one, points: thinned(one.points) }))
    .filter(({ points }) => points.length > 0);
  if (shown.length === 0) return "";
  const all = shown.flatMap(({ points }) => points);
  const [firstX, lastX] = extent(all.map(([x]) => x));
  const values = all.map(([, y]) => y);
  const [least, most] = extent(values);
  const isLog = log && least > 0 && most / least > 5;
  const x = linear(firstX, lastX, box.left, width - box.right);
  const along = isLog ? Math.log10 : (value: number) => value;
  const [low, high] = padded(along(least), along(most));
  const inner = linear(low, high, height - box.bottom, box.top);
  const y: Axis = (value) => inner(along(value));
  const ticks = isLog ? logTicks(least, most) : niceTicks(low, high, 5);
  return [
    `<figure><figcaption>${escaped(title)}</figcaption>`,
    `<svg viewBox="0 0 ${width} ${height}" role="img" aria-label="${escaped(title)}">`,
    ...ticks.map((value) => gridLine(y(value), label(value))),
    ...niceTicks(firstX, lastX, 6).map((value) => stepMark(x(value), label(value))),
    ...shown.map((one) => curve(one, x, y)),
    "</svg>",
    `<p class="legend">${shown.map(({ name, colour }) => `<span class="key c${colour}">${escaped(name)}</span>`).join(" ")}</p>`,
    "</figure>",
  ].join("\n");
}

/** Text that stands for itself in HTML. */
export function escaped(text: string): string {
  const names: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
  return text.replace(/[&<>"']/g, (character) => names[character] ?? character);
}

/** Neighbours put together by their means until they fit. */
function thinned(points: readonly Point[]): Point[] {
  const finite = points.filter(([, y]) => Number.isFinite(y));
  const size = Math.ceil(finite.length / mostPoints);
  if (size <= 1) return finite;
  return Array.from({ length: Math.ceil(finite.length / size) }, (_, i) => {
    const some = finite.slice(i * size, (i + 1) * size);
    const mean = (at: 0 | 1) => some.reduce((sum, point) => sum + point[at], 0) / some.length;
    return [mean(0), mean(1)] as const;
  });
}

function curve({ points, style, colour }: Series, x: Axis, y: Axis): string {
  const path = (list: readonly Point[]) =>
    list.map(([a, b], i) => `${i === 0 ? "M" : "L"}${x(a).toFixed(1)} ${y(b).toFixed(1)}`).join("");
  const line = (list: readonly Point[], more = "") => `<path class="c${colour}${more}" d="${path(list)}"/>`;
  if (style === "smooth" && points.length > 20) return line(points, " faint") + line(smoothed(points));
  if (style !== "dots") return line(points);
  const dots = points.map(
    ([a, b]) => `<circle class="c${colour}" cx="${x(a).toFixed(1)}" cy="${y(b).toFixed(1)}" r="3"/>`,
  );
  return line(points) + dots.join("");
}

/** The mean of each point's neighbours, as many on either side: a curve that falls is not shown later than it fell. */
function smoothed(points: readonly Point[]): Point[] {
  const reach = Math.max(2, Math.round(points.length / 40));
  const sums = [0];
  for (const [, y] of points) sums.push((sums.at(-1) as number) + y);
  return points.map(([x], i) => {
    const side = Math.min(reach, i, points.length - 1 - i);
    const sum = (sums[i + side + 1] as number) - (sums[i - side] as number);
    return [x, sum / (2 * side + 1)] as const;
  });
}

const gridLine = (y: number, text: string): string =>
  `<path class="grid" d="M${box.left} ${y.toFixed(1)}H${width - box.right}"/><text x="${box.left - 8}" y="${(y + 4).toFixed(1)}" text-anchor="end">${text}</text>`;

const stepMark = (x: number, text: string): string =>
  `<text x="${x.toFixed(1)}" y="${height - 8}" text-anchor="middle">${text}</text>`;

function linear(from: number, to: number, start: number, end: number): Axis {
  const span = to - from || 1;
  return (value) => start + ((value - from) / span) * (end - start);
}

/** Not by spreading: a run has more steps than a call may have arguments. */
function extent(values: readonly number[]): [least: number, most: number] {
  return values.reduce<[number, number]>(
    ([least, most], value) => [Math.min(least, value), Math.max(most, value)],
    [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY],
  );
}

function padded(low: number, high: number): [number, number] {
  const room = high > low ? 0.05 * (high - low) : Math.abs(low) * 0.1 || 1;
  return [low - room, high + room];
}

/** Multiples of 1, 2 or 5 times a power of ten. */
function niceTicks(low: number, high: number, about: number): number[] {
  if (!(high > low)) return [low];
  const rough = (high - low) / about;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = ([1, 2, 5].find((n) => n * power >= rough) ?? 10) * power;
  const first = Math.ceil(low / step);
  return Array.from({ length: Math.floor(high / step) - first + 1 }, (_, i) => (first + i) * step);
}

function logTicks(low: number, high: number): number[] {
  const powers = Array.from(
    { length: Math.ceil(Math.log10(high)) - Math.floor(Math.log10(low)) + 1 },
    (_, i) => 10 ** (Math.floor(Math.log10(low)) + i),
  );
  const parts = powers.length > 4 ? [1] : [1, 2, 5];
  return powers.flatMap((power) => parts.map((n) => n * power)).filter((value) => value >= low && value <= high);
}

const label = (value: number): string => {
  const text = Number(value.toPrecision(4));
  return Math.abs(text) >= 1e5 || (text !== 0 && Math.abs(text) < 1e-4) ? text.toExponential() : String(text);
};
