/** Two histograms in one picture, bin beside bin, as shares of their own totals. */

import { element } from "./markup.js";
import { baseline, column, shape, words } from "./svg.js";
import { percent } from "./wording.js";

const WIDTH = 800;
const HEIGHT = 230;
const FOOT = 30;
const HEAD = 34;

/** An <svg> of the counts of both, over equal bins from 0 to 1. */
export function drawPairs(stable, canary) {
  const sides = { stable: shares(stable), canary: shares(canary) };
  const tallest = Math.max(...sides.stable, ...sides.canary) || 1;
  const room = HEIGHT - FOOT - HEAD;
  const wide = WIDTH / stable.length;
  const picture = shape("svg", { class: "pairs", role: "img", viewBox: `0 0 ${WIDTH} ${HEIGHT}` });
  picture.setAttribute("aria-label", `Histograms of both versions; the tallest column is ${percent(tallest)}`);
  Object.entries(sides).forEach(([name, heights], side) => heights.forEach((share, bin) => {
    const height = share ? Math.max((room * share) / tallest, 2) : 0;
    picture.append(column(`${name}, ${span(bin, heights.length)}: ${percent(share)}`, {
      class: name, x: bin * wide + 3 + (side * (wide - 6)) / 2, y: HEIGHT - FOOT - height,
      width: (wide - 6) / 2, height, rx: 1.5,
    }));
  }));
  picture.append(words(0, HEAD - 10, percent(tallest), "start"));
  picture.append(baseline(WIDTH, HEIGHT - FOOT + 0.5));
  for (const [share, anchor] of [[0, "start"], [0.25, "middle"], [0.5, "middle"], [0.75, "middle"], [1, "end"]]) {
    picture.append(words(share * WIDTH, HEIGHT - 8, `${100 * share} %`, anchor));
  }
  return picture;
}

/** Table rows of the same, without bins that are empty on both sides. */
export function pairRows(stable, canary) {
  const [one, other] = [shares(stable), shares(canary)];
  return one.flatMap((share, bin) => (share + other[bin] === 0 ? [] : [
    element("tr", {},
      element("th", { scope: "row" }, span(bin, one.length)),
      element("td", { class: "number" }, percent(share)),
      element("td", { class: "number" }, percent(other[bin]))),
  ]));
}

function shares(counts) {
  const total = counts.reduce((sum, count) => sum + count, 0) || 1;
  return counts.map((count) => count / total);
}

const span = (bin, bins) =>
  `${Math.round((100 * bin) / bins)} to ${Math.round((100 * (bin + 1)) / bins)} %`;
