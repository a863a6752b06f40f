/** Numbers, durations and moments as people read them. */

/** 0.9512 as "95.1 %"; what is not quite 0 or 100 never reads so. */
export function percent(share) {
  if (share > 0 && share < 0.0005) return "< 0.1 %";
  if (share < 1 && share >= 0.9995) return "> 99.9 %";
  return `${(100 * share).toFixed(1)} %`;
}

/** 12500 as "12,500". */
export const grouped = (count) => count.toLocaleString("en-GB");

/** "1 photo", "2 photos". */
export const photos = (count) => `${grouped(count)} photo${count === 1 ? "" : "s"}`;

/** The API's words as a sentence; what begins with a name or value stays as it is. */
export const sentence = (text) => text.replace(/^[a-z]+(?=[ ,])/, (word) =>
  word[0].toUpperCase() + word.slice(1));

/** 4000 seconds as "1 h 7 min". */
export function duration(seconds) {
  const whole = Math.max(Math.round(seconds), 1);
  if (whole < 60) return `${whole} s`;
  const minutes = Math.round(whole / 60);
  if (minutes < 60) return `${minutes} min`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** A <time> of an ISO moment, in the reader's own zone. */
export function moment(iso) {
  const made = document.createElement("time");
  const when = new Date(iso);
  const isToday = when.toDateString() === new Date().toDateString();
  const clock = { hour: "2-digit", minute: "2-digit" };
  made.dateTime = iso;
  made.title = when.toLocaleString();
  made.textContent = isToday
    ? when.toLocaleTimeString([], { ...clock, second: "2-digit" })
    : when.toLocaleString([], { day: "numeric", month: "short", year: "numeric", ...clock });
  return made;
}
