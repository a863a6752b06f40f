/** A histogram as SVG, and as rows of a table for those who cannot see it. */

import { element } from "./markup.js";
import { baseline, column, shape, words } from "./svg.js";
import { grouped, photos } from "./wording.js";

const WIDTH = 480;
const HEIGHT = 190;
const FOOT = 28;
const HEAD = 24;

/** An <svg> of *counts* between *edges* (shares of 1). */
export function drawHistogram(edges, counts) {
  const tallest = Math.max(...counts, 1);
  const room = HEIGHT - FOOT - HEAD;
  const wide = WIDTH / counts.length;
  const picture = shape("svg", { class: "histogram", role: "img", viewBox: `0 0 ${WIDTH} ${HEIGHT}` });
  picture.setAttribute("aria-label", `Histogram; the tallest column is ${photos(tallest)}`);
  counts.forEach((count, index) => {
    const height = count ? Math.max((room * count) / tallest, 2) : 0;
    picture.append(column(`${span(edges, index)}: ${photos(count)}`, {
      class: "column", x: index * wide + 1.5, y: HEIGHT - FOOT - height, width: wide - 3, height, rx: 2,
    }));
    if (count === tallest) picture.append(label(index * wide + wide / 2, HEIGHT - FOOT - height - 6, grouped(count)));
  });
  picture.append(baseline(WIDTH, HEIGHT - FOOT + 0.5));
  for (const share of [0, 0.25, 0.5, 0.75, 1]) {
    picture.append(label(share * WIDTH, HEIGHT - 7, `${100 * share} %`));
  }
  return picture;
}

/** Table rows of the same, without the empty ones. */
export function histogramRows(edges, counts) {
  return counts.flatMap((count, index) => (count === 0 ? [] : [
    element("tr", {},
      element("th", { scope: "row" }, span(edges, index)),
      element("td", { class: "number" }, grouped(count))),
  ]));
}

const span = (edges, index) =>
  `${Math.round(100 * edges[index])} to ${Math.round(100 * edges[index + 1])} %`;

function label(x, y, text) {
  const isFirst = x < WIDTH / 12;
  const isLast = x > (11 * WIDTH) / 12;
  return words(x, y, text, isFirst ? "start" : isLast ? "end" : "middle");
}
