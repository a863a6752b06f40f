/** A heat map as a canvas over a photo, and in words. */

const STOPS = [[20, 11, 80], [132, 32, 125], [221, 73, 74], [250, 150, 30], [252, 240, 140]];
const ROWS = ["top", "middle", "bottom"];
const COLUMNS = ["left", "centre", "right"];

/** A canvas of *values* (rows of 0 to 1): the hotter, the brighter and less clear. */
export function drawHeatmap({ width, height, values }) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  values.flat().forEach((value, index) => image.data.set(colour(value), 4 * index));
  context.putImageData(image, 0, 0);
  return canvas;
}

/** Where the map is hottest, such as "top left". */
export function hottestPlace({ width, height, values }) {
  const flat = values.flat();
  const at = flat.indexOf(Math.max(...flat));
  const row = third(Math.floor(at / width), height);
  const column = third(at % width, width);
  return row === 1 && column === 1 ? "middle" : `${ROWS[row]} ${COLUMNS[column]}`;
}

const third = (position, size) => Math.min(Math.floor((3 * (position + 0.5)) / size), 2);

function colour(value) {
  const place = Math.min(Math.max(value, 0), 1) * (STOPS.length - 1);
  const below = Math.min(Math.floor(place), STOPS.length - 2);
  const share = place - below;
  const mixed = STOPS[below].map((from, k) => from + share * (STOPS[below + 1][k] - from));
  return [...mixed, 255 * (0.2 + 0.8 * value)];
}
