/** The page of one job: live until it ends, then its CSV and what the model said. */

import { Problem, ask, post, send } from "./api.js";
import { byId, element } from "./markup.js";
import { showProblem } from "./notices.js";
import { poll } from "./polling.js";
import { MOVING, showProgress, showState, speed, timeLeft } from "./progress.js";
import { showScores } from "./scores.js";
import { grouped, moment, percent } from "./wording.js";

const PAUSE = 1_000;
const QUARTER = 0.25;

const path = `/v1/jobs/${encodeURIComponent(byId("job").dataset.job)}`;
const tell = (problem) => showProblem(byId("problem"), problem);
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
  await poll(look, tell);
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
    // A cancelled job is not followed any more; one that goes on is again.
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
    tell(null);
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    tell(problem);
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

/** Tells screen readers of each state and each quarter, not of each photo. */
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
