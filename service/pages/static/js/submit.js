/** The form for a new job: a folder on the server or an archive, and its CSV files. */

import { ask, post, upload } from "./api.js";
import { byId, element, percent, showProblem } from "./elements.js";

const PATH = "/v1/jobs";

const form = byId("submit");
let work = null;
let key = newKey();

/** Make the page's form work. */
export function setUpForm() {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (work === null) submit();
  });
  // The same form sent twice is one job; a changed form is another job.
  form.addEventListener("input", () => { key = newKey(); });
  form.addEventListener("change", showChoices);
  byId("model").addEventListener("change", showLabels);
  byId("sample_submission").addEventListener("change", showSample);
  byId("submit-cancel").addEventListener("click", () => work?.abort());
  showChoices();
  showLabels();
}

async function submit() {
  work = new AbortController();
  showWork();
  try {
    const job = isUpload() ? await sendForm() : await sendFolder();
    location.assign(`/jobs/${encodeURIComponent(job.id)}`);
  } catch (problem) {
    if (problem.name !== "AbortError") showProblem(byId("submit-problem"), problem);
  } finally {
    work = null;
    showWork();
  }
}

function sendFolder() {
  const members = Object.fromEntries(answers());
  return post(PATH, { ...members, input: folder() }, headers());
}

function sendForm() {
  const body = new FormData();
  for (const [name, value] of answers()) body.append(name, value);
  if (source() === "folder") body.append("input", folder());
  for (const [name, file] of files()) body.append(name, file, file.name);
  return upload(PATH, body, headers(), { signal: work.signal, onProgress: showUpload });
}

const headers = () => ({ "Idempotency-Key": key });
const source = () => form.elements.source.value;
const folder = () => byId("input").value.trim();
const isUpload = () => files().length > 0;

function files() {
  const names = ["sample_submission", "manifest"];
  if (source() === "archive") names.push("archive");
  return names.map((name) => [name, byId(name).files[0]]).filter(([, file]) => file);
}

function answers() {
  const names = ["model", "format", "clip", "on_unreadable", "max_unreadable", "priority"];
  if (needsPositive()) names.push("positive");
  const given = names.map((name) => [name, form.elements[name].value.trim()]);
  return given.filter(([, value]) => value);
}

/** Of more than two labels, a sample's 0 and 1 are their numbers unless one is chosen. */
function needsPositive() {
  const format = form.elements.format.value;
  return format === "kaggle-binary" || (format === "" && byId("positive").length === 2);
}

function showSample() {
  const isThere = byId("sample_submission").files.length > 0;
  const format = byId("format");
  format.options[0].disabled = !isThere;
  format.value = isThere ? "" : format.value || "kaggle-binary";
  showChoices();
}

function showChoices() {
  for (const field of form.querySelectorAll("[data-source]")) {
    const isChosen = field.dataset.source === source();
    field.hidden = !isChosen;
    field.querySelector("input").required = isChosen;
  }
  byId("positive-field").hidden = !needsPositive();
  byId("format-hint").textContent = byId("format").selectedOptions[0].dataset.hint;
}

async function showLabels() {
  const labels = await labelsOf(byId("model").value);
  const options = labels.map((label) => element("option", {}, label));
  byId("positive").replaceChildren(...options);
  byId("positive").selectedIndex = labels.length - 1;
  showChoices();
}

async function labelsOf(model) {
  try {
    const { versions } = await ask(`/v1/models/${encodeURIComponent(model)}`);
    return versions.find((version) => version.card)?.card.labels ?? [];
  } catch {
    // Without labels the last one counts; the API reports mistakes.
    return [];
  }
}

function showWork() {
  const isBusy = work !== null;
  byId("submit-button").disabled = isBusy;
  byId("submit-cancel").hidden = byId("upload").hidden = !(isBusy && isUpload());
  byId("submit-status").textContent = isBusy ? "Starting" : "";
  if (isBusy) showProblem(byId("submit-problem"), null);
}

function showUpload(share) {
  byId("upload").value = share;
  byId("submit-status").textContent =
    share < 1 ? `${percent(share)} sent` : "Sent; the service is looking through it";
}

function newKey() {
  // randomUUID() is there on https and localhost only.
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
