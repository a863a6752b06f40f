/** The page of folder jobs: a live table, and the form for another job. */

import { ask, poll } from "./api.js";
import { byId, copyTemplate, moment, showProblem } from "./elements.js";
import { MOVING, showProgress, showState, speed, timeLeft } from "./progress.js";
import { setUpForm } from "./submit.js";

const SOON = 1_500;
const LATER = 8_000;

const { after } = byId("jobs").dataset;
const path = after ? `/v1/jobs?after=${encodeURIComponent(after)}` : "/v1/jobs";
const rows = new Map();

setUpForm();
poll(look, (problem) => showProblem(byId("jobs-problem"), problem));

async function look() {
  const { jobs, next } = await ask(path);
  showJobs(jobs);
  showPages(next);
  return jobs.some((job) => MOVING.has(job.state)) ? SOON : LATER;
}

function showJobs(jobs) {
  const made = jobs.map(showJob);
  // Rows that stay are not touched: the focus may be in one of them.
  if (made.some((row, index) => byId("job-rows").children[index] !== row)) {
    byId("job-rows").replaceChildren(...made);
  }
  byId("jobs").hidden = jobs.length === 0;
  byId("jobs-empty").hidden = jobs.length > 0;
}

function showPages(next) {
  byId("jobs-pages").hidden = !next && !after;
  byId("jobs-newest").hidden = !after;
  byId("jobs-older").hidden = !next;
  byId("jobs-older").href = `/jobs?after=${encodeURIComponent(next ?? "")}`;
}

function showJob(job) {
  if (!rows.has(job.id)) rows.set(job.id, newRow(job));
  const parts = rows.get(job.id);
  showState(parts.state, job.state);
  showProgress(parts.progress, parts.counts, job.progress);
  parts.speed.textContent = speed(job);
  parts.left.textContent = timeLeft(job);
  return parts.root;
}

function newRow(job) {
  const parts = copyTemplate("job-template");
  parts.link.href = `/jobs/${encodeURIComponent(job.id)}`;
  parts.link.textContent = job.input;
  parts.progress.setAttribute("aria-label", `Progress of ${job.input}`);
  const label = job.label ? ` (${job.label})` : "";
  parts.model.textContent = `${job.model} ${job.version}${label}`;
  parts.csv.textContent = job.positive ? `probability of ${job.positive}` : job.format;
  parts.created.append(moment(job.created));
  return parts;
}
