/** "What did it look at?": fetches a heat map and lays it over the photo. */

import { Problem, ask } from "./api.js";
import { copyTemplate, element, showProblem } from "./elements.js";

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
