/** Shows what went wrong, and what to do about it. */

import { element } from "./markup.js";
import { sentence } from "./wording.js";

/** Say *problem* in *place*; null takes away what was said. */
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
