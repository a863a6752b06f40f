/** What the model said of a finished job's photos. */

import { Problem, ask } from "./api.js";
import { showCounts } from "./bars.js";
import { drawHistogram, histogramRows } from "./histogram.js";
import { byId, copyTemplate, element } from "./markup.js";
import { percent } from "./wording.js";

/** Fetch the scores at *path* and show them; the CSV is worth more if there are none. */
export async function showScores(path) {
  let scores;
  try {
    scores = await ask(path);
  } catch (problem) {
    if (problem instanceof Problem) return;
    throw problem;
  }
  showCounts(byId("predicted"), scores.predicted);
  showHistogram(scores);
  byId("uncertain").replaceChildren(...scores.uncertain.map(uncertainPhoto));
  byId("uncertain-heading").hidden = scores.uncertain.length === 0;
  byId("scores").hidden = false;
}

function showHistogram({ labels, positive, histogram: { edges, counts } }) {
  const choice = byId("histogram-label");
  const show = () => {
    byId("histogram").replaceChildren(drawHistogram(edges, counts[choice.value]));
    byId("histogram-rows").replaceChildren(...histogramRows(edges, counts[choice.value]));
  };
  choice.replaceChildren(...labels.map((label) => element("option", {}, label)));
  choice.value = positive ?? labels.at(-1);
  choice.onchange = show;
  show();
}

function uncertainPhoto({ file, label, probabilities, thumbnail }) {
  const parts = copyTemplate("uncertain-template");
  const guess = label ?? mostProbable(probabilities);
  parts.image.src = thumbnail;
  parts.image.alt = file;
  parts.label.textContent = `${guess} ${percent(probabilities[guess])}`;
  parts.file.textContent = file;
  parts.file.title = file;
  return parts.root;
}

const mostProbable = (probabilities) =>
  Object.keys(probabilities).reduce((a, b) => (probabilities[a] >= probabilities[b] ? a : b));
