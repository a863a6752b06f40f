/** Probabilities as horizontal bars with labels and numbers. */

import { element } from "./markup.js";
import { grouped, percent } from "./wording.js";

const SHOWN = 6;
const NOTICEABLE = 0.0005;

/**
 * Fill *list* with a bar for each label, the most probable first, and *more* with a
 * button for the rest. Where *raw* differs, a mark and a note say so.
 */
export function showProbabilities(list, more, probabilities, raw) {
  const labels = Object.keys(probabilities).sort((a, b) => raw[b] - raw[a]);
  const rows = labels.map((label) => probabilityBar(label, probabilities[label], raw[label]));
  rows[0]?.classList.add("first");
  list.replaceChildren(...rows.slice(0, SHOWN));
  more.replaceChildren();
  if (rows.length <= SHOWN) return;
  const showAll = () => {
    list.append(...rows.slice(SHOWN));
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
