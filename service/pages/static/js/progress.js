/** A job's state, counts and pace, as elements and words. */

import { duration, grouped, photos } from "./elements.js";

/** States in which a job still moves. */
export const MOVING = new Set(["queued", "running"]);

/** Show *state* in its element. */
export function showState(place, state) {
  place.textContent = state;
  place.dataset.state = state;
}

/** Show how far a job is: a <progress> and its counts. */
export function showProgress(bar, counts, { done, total, unreadable }) {
  bar.max = total;
  bar.value = done;
  const bad = unreadable ? `, ${grouped(unreadable)} unreadable` : "";
  counts.textContent = done === total
    ? `${photos(total)}${bad}`
    : `${grouped(done)} of ${photos(total)}${bad}`;
}

/** Photos a second, or nothing while it is not known. */
export function speed({ images_per_second: images }) {
  if (images === null) return "";
  return images < 100 ? images.toFixed(1) : grouped(Math.round(images));
}

/** The time that is left, or nothing while it is not known. */
export const timeLeft = ({ eta_seconds: seconds }) => (seconds === null ? "" : duration(seconds));
