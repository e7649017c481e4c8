/** What an object does: told from the way of its centre and from its size. */
import type { DemoMotion } from "../demo/vocabulary.js";
import { median, type Sight } from "./segment.js";

/** Lengths are shares of the smaller side of a frame; 0.01 is 0.64 of 64 pixels. */
export interface Movement {
  /** Undefined where it is none of these, or two at once. */
  readonly name: DemoMotion | "counterclockwise" | undefined;
  /** From start to end. */
  readonly dx: number;
  readonly dy: number;
  /** Length of the way. */
  readonly way: number;
  /** Farthest that the centre gets from its mean place. */
  readonly spread: number;
  /** Size (radius) at the end by size at the start. */
  readonly growth: number;
  /** Angle that the centre turns about the middle of a circle through its places, in radians, clockwise positive; 0 where these lie on none. */
  readonly turn: number;
}

const limits = {
  /** A straight motion covers at least this. */
  distance: 0.12,
  /** And deviates across it by at most this share. */
  across: 0.35,
  /** Distance by length of the way. */
  straight: 0.8,
  /** Growing and shrinking: by at least this factor, … */
  growth: 1.2,
  /** … while the centre stays within this. */
  place: 0.08,
  /** Still: the centre stays within this, ends this near to its start, and the size stays within this factor. */
  still: 0.035,
  drift: 0.05,
  stillGrowth: 1.12,
  /** Straight motions and circles: the size stays within this factor. */
  sameSize: 1.35,
  /** Circles: at least this turn, … */
  turn: 0.9 * Math.PI,
  /** … on a circle of at least this radius … */
  circle: 0.08,
  /** … from which places are off by at most this share of it. */
  roundness: 0.2,
} as const;

interface Place {
  readonly x: number;
  readonly y: number;
}

/** @param sights in order of time, those without the object left out */
export function findMotion(sights: readonly Sight[], width: number, height: number): Movement {
  const side = Math.min(width, height);
  const places = smooth(sights.map(({ x, y }) => ({ x: x / side, y: y / side })));
  const radii = sights.map(({ area }) => Math.sqrt(area / Math.PI));
  const [first, last] = [places[0] ?? { x: 0, y: 0 }, places.at(-1) ?? { x: 0, y: 0 }];
  const ends = Math.max(1, Math.min(3, Math.floor(sights.length / 3)));
  const growth = median(radii.slice(-ends)) / median(radii.slice(0, ends));
  const middle = { x: mean(places.map(({ x }) => x)), y: mean(places.map(({ y }) => y)) };
  const facts = {
    dx: last.x - first.x,
    dy: last.y - first.y,
    way: places.slice(1).reduce((sum, place, i) => sum + between(place, places[i] as Place), 0),
    spread: Math.max(0, ...places.map((place) => between(place, middle))),
    growth,
    turn: turnOf(places),
  };
  return { name: sights.length < 3 ? undefined : nameOf(facts), ...facts };
}

const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / Math.max(1, values.length);
const between = (a: Place, b: Place): number => Math.hypot(a.x - b.x, a.y - b.y);

/** Means of three, but at the ends: what trembles is no way. */
function smooth(places: readonly Place[]): Place[] {
  return places.map((place, i) => {
    const [before, after] = [places[i - 1], places[i + 1]];
    if (before === undefined || after === undefined) return place;
    return { x: (before.x + place.x + after.x) / 3, y: (before.y + place.y + after.y) / 3 };
  });
}

function nameOf({ dx, dy, way, spread, growth, turn }: Omit<Movement, "name">): Movement["name"] {
  const change = Math.max(growth, 1 / growth);
  if (!Number.isFinite(change)) return undefined;
  if (change >= limits.growth && spread <= limits.place) return growth > 1 ? "growing" : "shrinking";
  if (change >= limits.sameSize) return undefined;
  if (Math.abs(turn) >= limits.turn) return turn > 0 ? "clockwise" : "counterclockwise";
  const distance = Math.hypot(dx, dy);
  if (spread <= limits.still && distance <= limits.drift && change <= limits.stillGrowth) return "still";
  if (distance < limits.distance || distance < limits.straight * way) return undefined;
  const [along, across] = [Math.max(Math.abs(dx), Math.abs(dy)), Math.min(Math.abs(dx), Math.abs(dy))];
  if (across > limits.across * along) return undefined;
  if (along === Math.abs(dx)) return dx > 0 ? "right" : "left";
  return dy > 0 ? "down" : "up";
}

/** The angle about the middle of the circle that fits the places best (Kåsa's least squares), in steps of less than half a turn. */
function turnOf(places: readonly Place[]): number {
  const centre = circleThrough(places);
  if (centre === undefined || centre.radius < limits.circle) return 0;
  const off = Math.sqrt(mean(places.map((place) => (between(place, centre) - centre.radius) ** 2)));
  if (off > limits.roundness * centre.radius) return 0;
  let turn = 0;
  for (let i = 1; i < places.length; i++) {
    const [from, to] = [places[i - 1] as Place, places[i] as Place];
    const [ax, ay, bx, by] = [from.x - centre.x, from.y - centre.y, to.x - centre.x, to.y - centre.y];
    turn += Math.atan2(ax * by - ay * bx, ax * bx + ay * by);
  }
  return turn;
}

function circleThrough(places: readonly Place[]): (Place & { readonly radius: number }) | undefined {
  const [mx, my] = [mean(places.map(({ x }) => x)), mean(places.map(({ y }) => y))];
  let [suu, suv, svv, su, sv] = [0, 0, 0, 0, 0];
  for (const place of places) {
    const [u, v] = [place.x - mx, place.y - my];
    const square = u * u + v * v;
    suu += u * u;
    suv += u * v;
    svv += v * v;
    su += u * square;
    sv += v * square;
  }
  const determinant = suu * svv - suv * suv;
  // Places on a line, or in one spot, lie on no circle of ours.
  if (determinant <= 1e-3 * (suu + svv) ** 2) return undefined;
  const [cu, cv] = [(su * svv - sv * suv) / (2 * determinant), (sv * suu - su * suv) / (2 * determinant)];
  const radius = Math.sqrt(cu * cu + cv * cv + (suu + svv) / places.length);
  return { x: mx + cu, y: my + cv, radius };
}
