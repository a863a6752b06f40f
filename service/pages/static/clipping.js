/** Explains, once for each version that answered, why a probability was clipped. */

import { ask } from "./api.js";
import { wasClipped } from "./bars.js";
import { element } from "./markup.js";
import { percent } from "./wording.js";

/** The sentences about clipping that the answers of a page call for. */
export class ClippingNotes {
  constructor(place) {
    this.place = place;
    this.seen = new Set();
  }

  /** Add a sentence if clipping changed *prediction* and its version has none yet. */
  async tell({ model, version, labels, probabilities, raw }) {
    const key = `${model} ${version}`;
    const changed = labels.some((label) => wasClipped(probabilities[label], raw[label]));
    if (!changed || this.seen.has(key)) return;
    this.seen.add(key);
    const card = await cardOf(model, version);
    if (card?.clip_bound) this.place.append(sentence(card));
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
    // The bars and their marks say it all the same.
    return undefined;
  }
}

function sentence({ name, version, clip_bound: bound, labels }) {
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
