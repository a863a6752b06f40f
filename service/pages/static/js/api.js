/** The service's own HTTP API: requests, watched uploads, polling; failures become a Problem. */

const LONGEST_WAIT_SECONDS = 20;
const UNREACHABLE = "The service cannot be reached: is it running, and are you online?";

/** An error with a message for people; from problem+json where the API sent one. */
export class Problem extends Error {
  constructor(detail, { status = 0, code = "", errors = [], retryAfter = null } = {}) {
    super(detail);
    Object.assign(this, { status, code, errors, retryAfter });
  }

  /** Whether the same request may succeed later, after a known time. */
  get passes() {
    const waits = this.retryAfter !== null && this.retryAfter <= LONGEST_WAIT_SECONDS;
    return waits && (this.status === 429 || this.status === 503);
  }
}

/**
 * The JSON that *path* answers. If the service is full and sends Retry-After, the
 * request is repeated once, after *onWait(seconds)*. Throws Problem, or AbortError when cancelled.
 */
export async function ask(path, { onWait = () => {}, ...options } = {}) {
  try {
    return await (await send(path, options)).json();
  } catch (problem) {
    if (!(problem instanceof Problem && problem.passes)) throw problem;
    onWait(problem.retryAfter);
    await pause(1000 * problem.retryAfter, options.signal);
    return await (await send(path, options)).json();
  }
}

/** POST a JSON *body* (or none); the answer's JSON. */
export function post(path, body, headers = {}) {
  const json = { "Content-Type": "application/json", ...headers };
  const content = body === undefined ? {} : { body: JSON.stringify(body), headers: json };
  return ask(path, { method: "POST", ...content });
}

/** The answer to one request, if it is a good one. Throws Problem or AbortError. */
export async function send(path, options) {
  let response;
  try {
    response = await fetch(path, { credentials: "same-origin", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(UNREACHABLE);
  }
  if (response.ok) return response;
  const retryAfter = response.headers.get("Retry-After");
  throw readProblem(response.status, await response.text(), retryAfter);
}

/** The Problem that an answer of that status and text is. */
export function readProblem(status, text, retryAfter = null) {
  if (status === 0) return new Problem(UNREACHABLE);
  const seconds = /^\d+$/.test(retryAfter ?? "") ? Number(retryAfter) : null;
  const facts = { status, retryAfter: seconds };
  try {
    const { detail, code, errors } = JSON.parse(text);
    return new Problem(detail ?? `The service answered ${status}.`, { ...facts, code, errors });
  } catch {
    return new Problem(`The service answered ${status}.`, facts);
  }
}

/** Resolves after that many milliseconds; rejects with AbortError when cancelled. */
export function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(new DOMException("cancelled", "AbortError"));
    });
  });
}

/**
 * The JSON of the answer; *onProgress* gets the share (0 to 1) that was sent.
 * Throws Problem, or AbortError when cancelled.
 */
export function upload(path, body, headers, { signal, onProgress }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const refuse = () => {
      const retryAfter = request.getResponseHeader("Retry-After");
      reject(readProblem(request.status, request.responseText, retryAfter));
    };
    request.upload.onprogress = ({ loaded, total }) => onProgress(total ? loaded / total : 0);
    request.onload = () => {
      if (request.status < 300) resolve(JSON.parse(request.responseText));
      else refuse();
    };
    request.onerror = refuse;
    request.onabort = () => reject(new DOMException("cancelled", "AbortError"));
    signal.addEventListener("abort", () => request.abort());
    request.open("POST", path);
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.send(body);
  });
}

const LONGEST_PAUSE = 30_000;
const HOPELESS = new Set([401, 403, 404]);

/**
 * Call *look* until it answers null; else it answers the milliseconds until the next
 * time. *report* gets each Problem, and null when all is well again.
 */
export async function poll(look, report) {
  let failures = 0;
  for (;;) {
    let milliseconds;
    try {
      milliseconds = await look();
      failures = 0;
      report(null);
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      report(problem);
      failures += 1;
      milliseconds = Math.min(1000 * 2 ** failures, LONGEST_PAUSE);
      if (HOPELESS.has(problem.status)) return;
    }
    if (milliseconds === null) return;
    await pause(milliseconds);
    if (document.hidden) await shown();
  }
}

function shown() {
  return new Promise((resolve) => {
    document.addEventListener("visibilitychange", resolve, { once: true });
  });
}
