/** The page of one job: live until it ends, then its CSV and its scores. */

import { Problem, ask, poll, post, send } from "./api.js";
import { drawHistogram, histogramRows, showCounts } from "./charts.js";
import { byId, copyTemplate, element, grouped, moment, percent, showProblem } from "./elements.js";
import { MOVING, showProgress, showState, speed, timeLeft } from "./progress.js";

const PAUSE = 1_000;
const QUARTER = 0.25;

const path = `/v1/jobs/${encodeURIComponent(byId("job").dataset.job)}`;
const report = (problem) => showProblem(byId("problem"), problem);
let isFollowed = false;
let spoken = "";

byId("cancel").addEventListener("click", () => change("cancel"));
byId("retry").addEventListener("click", () => change("retry"));
byId("delete").addEventListener("click", remove);
for (const time of document.querySelectorAll("time")) time.replaceWith(moment(time.dateTime));
follow();

async function follow() {
  if (isFollowed) return;
  isFollowed = true;
  await poll(look, report);
  isFollowed = false;
}

async function look() {
  const job = await ask(path);
  showJob(job);
  if (job.state === "succeeded") await showResult();
  return MOVING.has(job.state) ? PAUSE : null;
}

async function change(what) {
  await attempt(byId(what), async () => {
    const job = await post(`${path}/${what}`);
    showJob(job);
    // A cancelled job is not polled any more; a retried one is again.
    if (what === "retry") follow();
  });
}

async function remove() {
  if (!confirm("Delete this job, with its CSV and the photos uploaded for it?")) return;
  await attempt(byId("delete"), async () => {
    await send(path, { method: "DELETE" });
    location.assign("/jobs");
  });
}

async function attempt(button, act) {
  button.disabled = true;
  try {
    await act();
    report(null);
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    report(problem);
  } finally {
    button.disabled = false;
  }
}

function showJob(job) {
  const isMoving = MOVING.has(job.state);
  showState(byId("state"), job.state);
  showProgress(byId("progress"), byId("counts"), job.progress);
  byId("pace").textContent = pace(job);
  byId("cancel").hidden = !isMoving;
  byId("retry").hidden = !["failed", "cancelled"].includes(job.state);
  byId("delete").hidden = isMoving;
  byId("download").hidden = job.state !== "succeeded";
  byId("finished").replaceChildren(job.finished ? moment(job.finished) : "not yet");
  showProblem(byId("failure"), job.error ? new Problem(job.error) : null);
  showUnreadable(job);
  speak(job);
}

function pace(job) {
  if (job.waiting) return `waits: ${job.waiting}`;
  const parts = [];
  if (speed(job)) parts.push(`${speed(job)} photos/s`);
  if (timeLeft(job)) parts.push(`${timeLeft(job)} left`);
  return parts.join(", ");
}

function showUnreadable({ progress, unreadable_files: files }) {
  byId("unreadable").hidden = progress.unreadable === 0;
  const first = files.length < progress.unreadable ? ` The first ${files.length}:` : "";
  byId("unreadable-note").textContent =
    `${grouped(progress.unreadable)} could not be read.${first}`;
  byId("unreadable-rows").replaceChildren(...files.map(({ file, detail }) =>
    element("tr", {}, element("th", { scope: "row" }, file), element("td", {}, detail))));
}

/** Announces to screen readers each state and each quarter, not of each photo. */
function speak({ state, progress: { done, total } }) {
  const quarter = percent(Math.floor(done / total / QUARTER) * QUARTER);
  const words = state === "running" ? `running, ${quarter} done` : state;
  if (words === spoken) return;
  spoken = words;
  byId("spoken").textContent = words;
}

async function showResult() {
  const { headers } = await send(`${path}/submission.csv`, { method: "HEAD" });
  byId("digest").querySelector("code").textContent = headers.get("ETag")?.replaceAll('"', "") ?? "";
  byId("digest").hidden = !headers.get("ETag");
  await showScores(`${path}/scores`);
}

/** Fetch the scores at *path* and show them; without scores the page shows only the CSV. */
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
