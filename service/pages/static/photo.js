/** One photo of the page: its picture, and what became of it. */

import { showProbabilities } from "./bars.js";
import { copyTemplate, element } from "./markup.js";
import { percent, sentence } from "./wording.js";

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
    // The service may read what this browser cannot show.
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
