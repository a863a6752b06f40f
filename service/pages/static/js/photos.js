/** The page of photos: takes files in, requests predictions, shows the answers. */

import { Problem } from "./api.js";
import { byId, element, grouped, photos as counted, sentence, showProblem } from "./elements.js";
import { offerExplanation } from "./explanation.js";
import { ClippingNotes, Photo } from "./photo.js";
import { predict } from "./prediction.js";

const form = byId("photos");
const limits = {
  images: Number(form.dataset.maxImages),
  bytes: Number(form.dataset.maxBytes),
};
const notes = new ClippingNotes(byId("notes"));
const silent = new Set();
let photos = [];
let work = null;

takeFiles(byId("files"), form.querySelector(".drop"), take);
copyOnClick(byId("copy"), byId("curl"));
byId("cancel").addEventListener("click", () => work?.abort());
byId("again").addEventListener("click", () => run(photos));
byId("clear").addEventListener("click", clear);

function take(files) {
  if (photos.length + files.length > limits.images) {
    const text = `${counted(photos.length + files.length)}, the limit is ${limits.images} `
      + "at a time: clear some, or send the whole folder as a job.";
    showProblem(byId("problem"), new Problem(text));
    return;
  }
  const added = files.map((file) => new Photo(file));
  photos.push(...added);
  byId("photo-list").append(...added.map((photo) => photo.root));
  run(added);
}

async function run(asked) {
  asked.forEach((photo) => photo.wait());
  showProblem(byId("problem"), null);
  showState();
  // Photos that come while others are in work wait for their turn.
  if (work !== null) return;
  work = new AbortController();
  showState();
  try {
    for (let next = waiting(); next.length; next = waiting()) await askAbout(next);
  } catch (problem) {
    waiting().forEach((photo) => photo.cancel());
    if (problem instanceof Problem) showProblem(byId("problem"), problem);
    else if (problem.name !== "AbortError") throw problem;
  } finally {
    work = null;
    showState();
  }
}

function askAbout(next) {
  return predict(next, byId("model").value, limits.bytes, {
    signal: work.signal,
    onAnswer: showAnswer,
    onWait: (seconds) => {
      byId("status").textContent = `The service is busy: trying again in ${seconds} s.`;
    },
  });
}

function showAnswer(photo, { prediction, problem }) {
  if (problem !== undefined) photo.fail(problem);
  else {
    photo.answer(prediction);
    if (!silent.has(versionOf(prediction))) offerExplanation(photo, stopExplaining);
    notes.add(prediction);
  }
  showState();
}

function stopExplaining(prediction, problem) {
  silent.add(versionOf(prediction));
  const isSame = (photo) => versionOf(photo.prediction ?? {}) === versionOf(prediction);
  for (const photo of photos.filter(isSame)) photo.root.querySelector(".explain")?.remove();
  byId("notes").append(element("p", { class: "hint" }, sentence(problem.message)));
}

const versionOf = ({ model, version }) => `${model} ${version}`;
const waiting = () => photos.filter((photo) => photo.state === "waiting");

function showState() {
  const left = waiting().length;
  const isBusy = work !== null;
  const progress = byId("progress");
  byId("answers").hidden = photos.length === 0;
  form.classList.toggle("compact", photos.length > 0);
  progress.max = Math.max(photos.length, 1);
  progress.value = photos.length - left;
  progress.hidden = byId("cancel").hidden = !isBusy;
  byId("again").hidden = byId("clear").hidden = isBusy || photos.length === 0;
  byId("status").textContent = summary(left);
  byId("curl").textContent = curlCommand(byId("model").value, photos.map((each) => each.file));
}

function summary(left) {
  if (left) return `${grouped(photos.length - left)} of ${counted(photos.length)} answered`;
  const failed = photos.filter((photo) => photo.state === "failed").length;
  const answered = photos.filter((photo) => photo.state === "answered").length;
  const refused = failed ? `, ${grouped(failed)} could not be used` : "";
  return `${counted(answered)} answered${refused}`;
}

function clear() {
  photos.forEach((photo) => photo.release());
  photos = [];
  byId("photo-list").replaceChildren();
  notes.clear();
  showProblem(byId("problem"), null);
  showState();
  byId("files").focus();
}

/** Call *take* with the files, however they come. */
export function takeFiles(input, target, take) {
  input.addEventListener("change", () => {
    take([...input.files]);
    // So that the same file can be chosen again.
    input.value = "";
  });
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length) take(files);
  });
  takeDropped(target, take);
}

function takeDropped(target, take) {
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  document.addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    target.classList.add("over");
  });
  document.addEventListener("dragleave", (event) => {
    // No related target: the pointer left the window.
    if (!event.relatedTarget) target.classList.remove("over");
  });
  document.addEventListener("drop", (event) => {
    target.classList.remove("over");
    if (!hasFiles(event)) return;
    event.preventDefault();
    take([...event.dataTransfer.files]);
  });
}

/** The curl command that sends *files* to *model*. */
export function curlCommand(model, files) {
  const shown = files.slice(0, 3).map((file) => `-F image=@${quoted(file.name)}`);
  const query = model ? `?model=${encodeURIComponent(model)}` : "";
  return ["curl", ...shown, quoted(`${location.origin}/v1/predict${query}`)].join(" ");
}

/** Make *button* copy the text of *code*; without a clipboard it selects it. */
export function copyOnClick(button, code) {
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    } catch {
      // Browsers lend the clipboard to https and localhost only.
      getSelection().selectAllChildren(code);
    }
  });
}

function quoted(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
