/** "What did it look at?": asks for a heat map and lays it over the photo. */

import { Problem, ask } from "./api.js";
import { drawHeatmap, hottestPlace } from "./heatmap.js";
import { copyTemplate, element } from "./markup.js";
import { showProblem } from "./notices.js";

const NOT_IMPLEMENTED = 501;

/**
 * Give an answered *photo* the button. *onImpossible* is called once it turns out that
 * the version which answered cannot explain itself.
 */
export function offerExplanation(photo, onImpossible) {
  const button = element("button", { type: "button", class: "explain" }, "What did it look at?");
  button.addEventListener("click", () => open(photo, button, onImpossible));
  photo.parts.by.before(button);
}

async function open(photo, button, onImpossible) {
  button.disabled = true;
  button.textContent = "Looking";
  const { label } = photo.prediction;
  try {
    const shown = new Explanation(photo, await fetchExplanation(photo, label));
    button.replaceWith(shown.parts.root);
    shown.parts.label.focus();
  } catch (problem) {
    button.disabled = false;
    button.textContent = "What did it look at?";
    if (problem.status === NOT_IMPLEMENTED) onImpossible(photo.prediction, problem);
    else if (problem instanceof Problem) showProblem(photo.parts.more, problem);
    else throw problem;
  }
}

function fetchExplanation({ file, prediction }, label) {
  const { model, version } = prediction;
  const query = new URLSearchParams({ model, version, class: label });
  const body = new FormData();
  body.append("image", file, file.name);
  return ask(`/v1/explain?${query}`, { method: "POST", body });
}

class Explanation {
  constructor(photo, answer) {
    this.photo = photo;
    this.answers = new Map();
    this.parts = copyTemplate("explanation-template");
    const { label, strength } = this.parts;
    label.append(...answer.labels.map((each) => element("option", {}, each)));
    label.addEventListener("change", () => this.choose(label.value));
    strength.addEventListener("input", () => this.fade());
    this.show(answer);
  }

  async choose(label) {
    try {
      this.show(this.answers.get(label) ?? await fetchExplanation(this.photo, label));
    } catch (problem) {
      this.parts.words.textContent = problem.message;
    }
  }

  show(answer) {
    const { explained, heatmap } = answer;
    const place = hottestPlace(heatmap);
    this.answers.set(explained, answer);
    this.parts.label.value = explained;
    this.parts.words.textContent = `Most of what speaks for ${explained} is at the ${place}.`;
    this.canvas?.remove();
    this.canvas = drawHeatmap(heatmap);
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", `Heat map for ${explained}, hottest at the ${place}`);
    this.fade();
    this.photo.parts.frame.append(this.canvas);
  }

  fade() {
    this.canvas.style.opacity = this.parts.strength.value / 100;
  }
}
