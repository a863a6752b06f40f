/** Bars and histograms of probabilities and counts, and their tables for screen readers. */

import { element, grouped, percent, photos } from "./elements.js";

const NAMESPACE = "http://www.w3.org/2000/svg";
const BARS = 6;
const NOTICEABLE = 0.0005;

/**
 * Fill *list* with a bar for each label, the most probable first, and *more* with a
 * button for the rest. Where *raw* differs, a mark and a note say so.
 */
export function showProbabilities(list, more, probabilities, raw) {
  const labels = Object.keys(probabilities).sort((a, b) => raw[b] - raw[a]);
  const rows = labels.map((label) => probabilityBar(label, probabilities[label], raw[label]));
  rows[0]?.classList.add("first");
  list.replaceChildren(...rows.slice(0, BARS));
  more.replaceChildren();
  if (rows.length <= BARS) return;
  const showAll = () => {
    list.append(...rows.slice(BARS));
    more.replaceChildren();
  };
  const text = `All ${grouped(rows.length)} labels`;
  more.append(element("button", { type: "button", class: "link", onclick: showAll }, text));
}

/** Whether clipping moved a probability so far that a person would see it. */
export const wasClipped = (probability, raw) => Math.abs(probability - raw) >= NOTICEABLE;

/** Fill *list* with a bar for each label's count. */
export function showCounts(list, counts) {
  const largest = Math.max(1, ...Object.values(counts));
  const labels = Object.keys(counts).sort((a, b) => counts[b] - counts[a]);
  const rows = labels.map((label) =>
    bar(label, counts[label] / largest, grouped(counts[label])));
  rows[0]?.classList.add("first");
  list.replaceChildren(...rows);
}

function probabilityBar(label, probability, raw) {
  const made = bar(label, probability, percent(probability));
  if (!wasClipped(probability, raw)) return made;
  const mark = element("span", { class: "bar-raw" });
  mark.style.left = `${100 * raw}%`;
  made.querySelector(".bar-track").append(mark);
  made.append(element("span", { class: "bar-note" }, `raw ${percent(raw)}`));
  return made;
}

function bar(label, share, value) {
  const fill = element("span", { class: "bar-fill" });
  fill.style.width = `${100 * share}%`;
  return element("li", { class: "bar", "data-label": label },
    element("span", { class: "bar-label", title: label }, label),
    element("span", { class: "bar-track", "aria-hidden": "true" }, fill),
    element("span", { class: "bar-value" }, value));
}

/** An <svg> of *counts* between *edges* (shares of 1). */
export function drawHistogram(edges, counts) {
  const frame = { class: "histogram", width: 480, height: 190, foot: 28, head: 24 };
  const tallest = Math.max(...counts, 1);
  const wide = frame.width / counts.length;
  const picture = canvas(frame, `Histogram; the tallest column is ${photos(tallest)}`);
  counts.forEach((count, bin) => {
    picture.append(column(frame, count / tallest, `${span(edges[bin], edges[bin + 1])}: ${photos(count)}`, {
      class: "column", x: bin * wide + 1.5, width: wide - 3, rx: 2,
    }));
    const top = frame.height - frame.foot - heightOf(frame, count / tallest);
    if (count === tallest) picture.append(words(frame, bin * wide + wide / 2, top - 6, grouped(count)));
  });
  return picture;
}

/** Table rows of the same, without the empty ones. */
export function histogramRows(edges, counts) {
  return counts.flatMap((count, bin) =>
    (count === 0 ? [] : [row(span(edges[bin], edges[bin + 1]), grouped(count))]));
}

/** An <svg> of two histograms of equal bins from 0 to 1, as shares of their totals. */
export function drawPairs(stable, canary) {
  const frame = { class: "pairs", width: 800, height: 230, foot: 30, head: 34 };
  const sides = { stable: shares(stable), canary: shares(canary) };
  const tallest = Math.max(...sides.stable, ...sides.canary) || 1;
  const wide = frame.width / stable.length;
  const picture = canvas(frame, `Histograms of both versions; the tallest column is ${percent(tallest)}`);
  Object.entries(sides).forEach(([name, heights], side) => heights.forEach((share, bin) => {
    const text = `${name}, ${span(bin / heights.length, (bin + 1) / heights.length)}: ${percent(share)}`;
    picture.append(column(frame, share / tallest, text, {
      class: name, x: bin * wide + 3 + (side * (wide - 6)) / 2, width: (wide - 6) / 2, rx: 1.5,
    }));
  }));
  picture.append(words(frame, 0, frame.head - 10, percent(tallest)));
  return picture;
}

/** Table rows of the same, without bins that are empty on both sides. */
export function pairRows(stable, canary) {
  const [one, other] = [shares(stable), shares(canary)];
  return one.flatMap((share, bin) => (share + other[bin] === 0 ? [] : [
    row(span(bin / one.length, (bin + 1) / one.length), percent(share), percent(other[bin])),
  ]));
}

const row = (name, ...values) => element("tr", {},
  element("th", { scope: "row" }, name),
  ...values.map((value) => element("td", { class: "number" }, value)));

const span = (from, to) => `${Math.round(100 * from)} to ${Math.round(100 * to)} %`;

function shares(counts) {
  const total = counts.reduce((sum, count) => sum + count, 0) || 1;
  return counts.map((count) => count / total);
}

/** An empty picture with its base line and the percentages below it. */
function canvas(frame, label) {
  const { width, height, foot } = frame;
  const picture = shape("svg", { class: frame.class, role: "img", viewBox: `0 0 ${width} ${height}`, "aria-label": label });
  const level = height - foot + 0.5;
  picture.append(shape("line", { class: "baseline", x1: 0, x2: width, y1: level, y2: level }));
  for (const share of [0, 0.25, 0.5, 0.75, 1]) {
    picture.append(words(frame, share * width, height - 8, `${100 * share} %`));
  }
  return picture;
}

/** A column whose *title* shows under the pointer; never so low that it cannot be seen. */
function column(frame, share, title, attributes) {
  const height = heightOf(frame, share);
  const made = shape("rect", { ...attributes, height, y: frame.height - frame.foot - height });
  const hover = shape("title");
  hover.textContent = title;
  made.append(hover);
  return made;
}

const heightOf = ({ height, foot, head }, share) =>
  (share ? Math.max((height - foot - head) * share, 2) : 0);

/** *text* centred at (x, y), at the edges inside the picture. */
function words({ width }, x, y, text) {
  const edge = width / 12;
  const anchor = x < edge ? "start" : x > width - edge ? "end" : "middle";
  const made = shape("text", { x, y, "text-anchor": anchor });
  made.textContent = text;
  return made;
}

function shape(name, attributes = {}) {
  const made = document.createElementNS(NAMESPACE, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}
