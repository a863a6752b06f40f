/** A POST whose upload can be watched; fetch() cannot tell how much it has sent. */

import { readProblem } from "./api.js";

/**
 * The JSON of the answer; *onProgress* is told the share (0 to 1) that was sent.
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
