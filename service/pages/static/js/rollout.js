/** The page of a rollout: live while it goes on. */

import { ask, poll } from "./api.js";
import { drawPairs, pairRows } from "./charts.js";
import { byId, element, grouped, moment, percent, showProblem } from "./elements.js";
import { showState } from "./progress.js";

const PAUSE = 2_000;
const OPEN = new Set(["starting", "running"]);
/** Times what chance shows on average: equal versions do so once in 600 looks at most. */
const NOTABLE = 10;
const SLOWER = 1.25;

const model = byId("rollout").dataset.model;
let spoken = "";

poll(look, (problem) => showProblem(byId("problem"), problem));

async function look() {
  const rollout = await ask(`/v1/models/${encodeURIComponent(model)}/rollout`);
  showRollout(rollout);
  return OPEN.has(rollout.state) ? PAUSE : null;
}

function showRollout(rollout) {
  const { stable, canary, comparison } = rollout;
  byId("lead").textContent = lead(rollout);
  showState(byId("state"), rollout.state);
  byId("share").textContent = `${rollout.percent} % for version ${canary}`;
  byId("bar").value = rollout.percent;
  byId("started").replaceChildren(moment(rollout.started));
  byId("commands").replaceChildren(...commands(rollout));
  byId("missing").hidden = comparison !== null;
  byId("missing").textContent = `No comparison: ${rollout.missing}`;
  for (const [side, version] of Object.entries({ stable, canary })) {
    byId(`${side}-name`).textContent = `${side} ${version}`;
    byId(`${side}-legend`).textContent = `version ${version}, ${side}`;
  }
  byId("comparison").hidden = comparison === null;
  if (comparison) showComparison(comparison);
  speak(`${rollout.state}, ${rollout.percent} percent`);
}

function lead({ state, stable, canary }) {
  return {
    starting: `Version ${canary} is being loaded; version ${stable} answers.`,
    running: `Version ${canary} gets a share of the requests that name no version; version ${stable} answers the others.`,
    promoted: `Version ${canary} was promoted: it answers requests that name no version.`,
  }[state] ?? `Version ${canary} was taken back: it answers only requests that name it.`;
}

function commands({ state }) {
  if (!OPEN.has(state)) return [];
  const command = (what) => element("code", {}, `kennel rollout ${what}`);
  return [command(`promote ${model}`), " lets it answer, ", command(`abort ${model}`), " takes it back."];
}

function showComparison({ stable, canary, scores, labels, agreement }) {
  byId("figures").replaceChildren(
    figure("Same label", share(agreement.same_label), `of ${grouped(agreement.images)} photos that both answered`),
    figure("Mean difference", decimals(agreement.mean_difference, 4), "of the probabilities of those photos"),
    figure("Scores apart", apart(scores), chance(scores)),
    figure("Labels apart", apart(labels), chance(labels)),
  );
  byId("sides").replaceChildren(
    row("Requests", grouped(stable.requests), grouped(canary.requests)),
    row("Errors", grouped(stable.errors), grouped(canary.errors), canary.errors > stable.errors),
    row("Photos", grouped(stable.images), grouped(canary.images)),
    latencies("Median latency", stable.p50_ms, canary.p50_ms),
    latencies("99th percentile", stable.p99_ms, canary.p99_ms),
    ...Object.keys({ ...stable.labels, ...canary.labels }).map((label) =>
      row(`Said “${label}”`, part(stable, label), part(canary, label))),
  );
  byId("histogram").replaceChildren(drawPairs(stable.scores, canary.scores));
  byId("score-rows").replaceChildren(...pairRows(stable.scores, canary.scores));
}

function figure(name, value, meaning) {
  return element("div", { class: "panel" },
    element("dt", {}, name), element("dd", {}, value), element("dd", { class: "hint" }, meaning));
}

function row(name, one, other, isWorse = false) {
  const mark = isWorse ? [element("span", { class: "visually-hidden" }, " (worse)")] : [];
  return element("tr", {},
    element("th", { scope: "row" }, name),
    element("td", { class: "number" }, one),
    element("td", { class: isWorse ? "number worse" : "number" }, other, ...mark));
}

const latencies = (name, one, other) =>
  row(name, milliseconds(one), milliseconds(other), one !== null && other > SLOWER * one);

const milliseconds = (value) => (value === null ? "none yet" : `${value.toFixed(1)} ms`);
const decimals = (value, count) => (value === null ? "none yet" : value.toFixed(count));
const share = (value) => (value === null ? "none yet" : percent(value));
const apart = ({ bits }) => (bits === null ? "none yet" : `${bits.toFixed(3)} bit`);
const part = ({ images, labels }, label) =>
  (images ? percent((labels[label] ?? 0) / images) : "none yet");

function chance({ bits, by_chance: expected }) {
  if (bits === null) return "Jensen-Shannon, 0 to 1";
  const verdict = bits > NOTABLE * expected ? "far more than by chance" : "chance explains it";
  return `Jensen-Shannon; ${expected.toFixed(3)} by chance: ${verdict}`;
}

/** Announces to screen readers each change of the share, not of each request. */
function speak(words) {
  if (words === spoken) return;
  spoken = words;
  byId("spoken").textContent = words;
}
