/** Looks again and again: soon while things move, later while failing, not while hidden. */

import { Problem, pause } from "./api.js";

const LONGEST_PAUSE = 30_000;
const HOPELESS = new Set([401, 403, 404]);

/**
 * Call *look* until it answers null; else it answers the milliseconds until the next
 * time. *tell* is told each Problem, and null when all is well again.
 */
export async function poll(look, tell) {
  let failures = 0;
  for (;;) {
    let milliseconds;
    try {
      milliseconds = await look();
      failures = 0;
      tell(null);
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      tell(problem);
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
