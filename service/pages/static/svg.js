/** Parts of the pictures that the pages draw as SVG. */

const NAMESPACE = "http://www.w3.org/2000/svg";

/** An SVG element called *name*, for instance rect. */
export function shape(name, attributes = {}) {
  const made = document.createElementNS(NAMESPACE, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

/** A column whose *title* shows under the pointer. */
export function column(title, attributes) {
  const made = shape("rect", attributes);
  const told = shape("title");
  told.textContent = title;
  made.append(told);
  return made;
}

/** *text* at (x, y); its *anchor* is start, middle or end. */
export function words(x, y, text, anchor) {
  const made = shape("text", { x, y, "text-anchor": anchor });
  made.textContent = text;
  return made;
}

/** The line on which columns stand, *width* long at *level*. */
export const baseline = (width, level) =>
  shape("line", { class: "baseline", x1: 0, x2: width, y1: level, y2: level });
