/** One photo of the page: its picture, its answer, and a note where that was clipped. */

import { ask } from "./api.js";
import { showProbabilities, wasClipped } from "./charts.js";
import { copyTemplate, element, percent, sentence } from "./elements.js";

/** A photo in the list, waiting until it is answered, failed or cancelled. */
export class Photo {
  constructor(file) {
    this.file = file;
    this.parts = copyTemplate("photo-template");
    this.parts.name.textContent = file.name;
    this.parts.name.title = file.name;
    this.source = URL.createObjectURL(file);
    const { image } = this.parts;
    image.alt = `Your photo ${file.name}`;
    // The service may decode images that this browser cannot show.
    image.addEventListener("error", () => image.classList.add("unseen"));
    image.src = this.source;
    this.wait();
  }

  get root() {
    return this.parts.root;
  }

  /** Waiting for an answer. */
  wait() {
    this.#become("waiting", "Waiting");
  }

  /** Will not be answered. */
  cancel() {
    this.#become("cancelled", "Not answered");
  }

  /** Cannot be answered, and why. */
  fail(reason) {
    this.#become("failed", sentence(reason));
  }

  /** Answered: show *prediction*. */
  answer(prediction) {
    const { label, probabilities, raw, model, version } = prediction;
    this.prediction = prediction;
    this.#become("answered", `${label} ${percent(probabilities[label])}`);
    showProbabilities(this.parts.bars, this.parts.more, probabilities, raw);
    const path = `/models/${encodeURIComponent(model)}/versions/${version}`;
    this.parts.by.append("by ", element("a", { href: path }, `${model}, version ${version}`));
  }

  /** Let go of the picture's memory. */
  release() {
    URL.revokeObjectURL(this.source);
  }

  #become(state, verdict) {
    const { root, article, bars, more, by, frame } = this.parts;
    this.state = state;
    root.className = `photo ${state}`;
    article.setAttribute("aria-busy", state === "waiting");
    this.parts.verdict.textContent = verdict;
    for (const part of [bars, more, by]) part.replaceChildren();
    frame.querySelector("canvas")?.remove();
    root.querySelector(".explanation")?.remove();
  }
}

/** The sentences about clipping that the answers of a page need. */
export class ClippingNotes {
  constructor(place) {
    this.place = place;
    this.seen = new Set();
  }

  /** Add a sentence if clipping changed *prediction* and its version has none yet. */
  async add({ model, version, labels, probabilities, raw }) {
    const key = `${model} ${version}`;
    const changed = labels.some((label) => wasClipped(probabilities[label], raw[label]));
    if (!changed || this.seen.has(key)) return;
    this.seen.add(key);
    const card = await cardOf(model, version);
    if (card?.clip_bound) this.place.append(clippingSentence(card));
  }

  /** Take all sentences away. */
  clear() {
    this.seen.clear();
    this.place.replaceChildren();
  }
}

async function cardOf(model, version) {
  try {
    const { versions } = await ask(`/v1/models/${encodeURIComponent(model)}`);
    return versions.find((each) => each.version === version)?.card;
  } catch {
    // The bars and their marks show the same.
    return undefined;
  }
}

function clippingSentence({ name, version, clip_bound: bound, labels }) {
  const lowest = (1 - bound) / (labels.length - 1);
  const card = `/models/${encodeURIComponent(name)}/versions/${version}`;
  return element("p", { class: "hint" },
    `${name}, version ${version}, keeps its answers between ${percent(lowest)} and `
    + `${percent(bound)} (its `,
    element("a", { href: card }, "clip bound"),
    "), because one confident mistake costs more log loss than many right answers earn; "
    + "the mark ",
    element("span", { class: "mark", "aria-hidden": "true" }),
    " is what the network said before, raw.");
}
