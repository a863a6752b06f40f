/** Requests predictions: many photos in several requests, answered in their order. */

import { Problem, ask } from "./api.js";

const PHOTOS_A_REQUEST = 8;
const SHARE_OF_LIMIT = 0.9;

/**
 * Send *photos*, objects with a `file`, to *model*; *onAnswer(photo, answer)* is called
 * for each: the answer has a `prediction` with `model` and `version`, or a `problem`.
 * Throws AbortError when cancelled, Problem when the service refuses to work at all.
 */
export async function predict(photos, model, maxBytes, { onAnswer, onWait, signal }) {
  for (const part of requests(photos, SHARE_OF_LIMIT * maxBytes)) {
    const answers = await answersTo(part, model, { onWait, signal });
    part.forEach((photo, index) => onAnswer(photo, answers[index]));
  }
}

function* requests(photos, maxBytes) {
  let part = [];
  let bytes = 0;
  for (const photo of photos) {
    const isFull = part.length === PHOTOS_A_REQUEST || bytes + photo.file.size > maxBytes;
    if (part.length && isFull) {
      yield part;
      [part, bytes] = [[], 0];
    }
    part.push(photo);
    bytes += photo.file.size;
  }
  if (part.length) yield part;
}

async function answersTo(part, model, options) {
  const body = new FormData();
  for (const { file } of part) body.append("image", file, file.name);
  const query = model ? `?model=${encodeURIComponent(model)}` : "";
  try {
    const answer = await ask(`/v1/predict${query}`, { method: "POST", body, ...options });
    return answer.predictions.map((prediction) => readAnswer(answer, prediction));
  } catch (problem) {
    return perPhoto(problem, part);
  }
}

function readAnswer({ model, version, labels }, prediction) {
  if (prediction.error) return { problem: prediction.error.detail };
  return { prediction: { model, version, labels, ...prediction } };
}

function perPhoto(problem, part) {
  const isAboutPhotos = problem instanceof Problem && [413, 422].includes(problem.status);
  if (!isAboutPhotos) throw problem;
  const details = part.map(() => problem.message);
  for (const { index, detail } of problem.errors ?? []) details[index] = detail;
  return details.map((detail) => ({ problem: detail }));
}
