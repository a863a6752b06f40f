/** Elements, error messages, and numbers as people read them. Text is never parsed as HTML. */

/** An element with attributes ("onclick" and the like are listeners) and children. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== null) made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

/** A copy of the page's template of that id: its parts, by their data-part. */
export function copyTemplate(id) {
  const root = document.getElementById(id).content.firstElementChild.cloneNode(true);
  const parts = [root, ...root.querySelectorAll("[data-part]")];
  return Object.fromEntries(parts.map((part) => [part.dataset.part, part]));
}

/** The element of that id. */
export const byId = (id) => document.getElementById(id);

/** Show *problem* in *place*; null clears it. */
export function showProblem(place, problem) {
  if (problem === null) {
    place.replaceChildren();
    return;
  }
  const notice = element("p", { class: "notice bad" }, sentence(problem.message));
  if (problem.status === 401) notice.append(" ", signInLink());
  if (place.textContent !== notice.textContent) place.replaceChildren(notice);
}

function signInLink() {
  const here = encodeURIComponent(location.pathname);
  return element("a", { href: `/login?next=${here}` }, "Sign in");
}

/** 0.9512 as "95.1 %"; a value that is not quite 0 or 100 is never rounded to it. */
export function percent(share) {
  if (share > 0 && share < 0.0005) return "< 0.1 %";
  if (share < 1 && share >= 0.9995) return "> 99.9 %";
  return `${(100 * share).toFixed(1)} %`;
}

/** 12500 as "12,500". */
export const grouped = (count) => count.toLocaleString("en-GB");

/** "1 photo", "2 photos". */
export const photos = (count) => `${grouped(count)} photo${count === 1 ? "" : "s"}`;

/** A message of the API as a sentence; one that begins with a name or value stays as it is. */
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
