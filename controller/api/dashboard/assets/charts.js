// Charts of the dashboard, as SVG: no styles in attributes, so that the content policy needs no exception.

const SPACE = "http://www.w3.org/2000/svg";
export const GROUPS = ["running", "starting", "warm", "ending", "lost"];

function svg(name, attributes = {}, text) {
  const made = document.createElementNS(SPACE, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "class") made.className = value;
    else if (key === "title") made.title = value;
    else made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** A step for an axis that ends in 1, 2 or 5 and is a whole number. */
function step(most, lines) {
  const rough = Math.max(1, most / lines);
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].map((factor) => factor * power).find((one) => one >= rough);
}

const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });

/** Rows of a moment and counts by group, stacked; a legend tells the counts under the pointer, else those of now. */
export function stacked(place, rows, now) {
  const width = Math.max(320, place.clientWidth || 700), height = 230;
  const left = 34, right = 8, top = 8, bottom = 22;
  const begin = Math.min(rows.length ? rows[0][0] : now, now - 300);
  const x = (at) => left + ((at - begin) / Math.max(1, now - begin)) * (width - left - right);
  const most = Math.max(4, ...rows.map((row) => GROUPS.reduce((sum, _, index) => sum + row[index + 1], 0)));
  const unit = step(most, 4), ceiling = Math.ceil(most / unit) * unit;
  const y = (count) => height - bottom - (count / ceiling) * (height - top - bottom);
  const drawn = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "Cells over time by state" });
  for (let count = 0; count <= ceiling; count += unit) {
    drawn.append(svg("line", { class: "grid", x1: left, x2: width - right, y1: y(count), y2: y(count) }));
    drawn.append(svg("text", { x: left - 6, y: y(count) + 4, "text-anchor": "end" }, String(count)));
  }
  const span = now - begin;
  for (let part = 0; part <= 4; part++) {
    const at = begin + (span * part) / 4;
    const anchor = part === 0 ? "start" : part === 4 ? "end" : "middle";
    drawn.append(svg("text", { x: x(at), y: height - 6, "text-anchor": anchor }, clock(at)));
  }
  // What was seen holds until something else is seen.
  const points = rows.flatMap((row, i) => [row, [i + 1 < rows.length ? rows[i + 1][0] : now, ...row.slice(1)]]);
  const below = points.map(() => 0);
  GROUPS.forEach((group, index) => {
    if (!points.some((row) => row[index + 1])) return;
    const low = points.map((row, i) => `${x(row[0]).toFixed(1)},${y(below[i]).toFixed(1)}`);
    points.forEach((row, i) => (below[i] += row[index + 1]));
    const high = points.map((row, i) => `${x(row[0]).toFixed(1)},${y(below[i]).toFixed(1)}`);
    drawn.append(svg("path", { class: group, d: `M${high.join("L")}L${low.reverse().join("L")}Z` }));
  });
  const cursor = svg("line", { class: "cursor", y1: top, y2: height - bottom, visibility: "hidden" });
  drawn.append(cursor);
  const legend = element("div", { class: "legend" });
  const tell = (row) => {
    const shown = GROUPS.map((group, index) =>
      element("span", {}, element("i", { class: `dot ${group}` }), `${group} ${row ? row[index + 1] : 0}`));
    legend.replaceChildren(...shown, element("span", {}, row ? `at ${clock(row[0])}` : "nothing yet"));
  };
  const last = rows[rows.length - 1];
  tell(last);
  drawn.addEventListener("pointermove", (event) => {
    const box = drawn.getBoundingClientRect();
    const at = begin + (((event.clientX - box.left) / box.width) * width - left) / (width - left - right) * span;
    const near = rows.reduce((best, row) => (!best || Math.abs(row[0] - at) < Math.abs(best[0] - at) ? row : best), null);
    if (!near) return;
    cursor.setAttribute("x1", x(near[0]));
    cursor.setAttribute("x2", x(near[0]));
    cursor.setAttribute("visibility", "visible");
    tell(near);
  });
  drawn.addEventListener("pointerleave", () => { cursor.setAttribute("visibility", "hidden"); tell(last); });
  place.replaceChildren(drawn, legend);
}

/** Bars, each with a name, a value in words, and parts [class, share of the widest]. */
export function bars(place, rows, nothing) {
  if (!rows.length) { place.replaceChildren(element("p", { class: "empty" }, nothing)); return; }
  place.replaceChildren(...rows.map(({ name, told, parts }) => {
    const track = element("span", { class: "track" });
    for (const [kind, share] of parts) {
      const part = element("i", { class: kind });
      part.style.width = `${(100 * share).toFixed(2)}%`;
      track.append(part);
    }
    return element("div", { class: "bar" }, element("span", { class: "name", title: name }, name),
      element("span", { class: "number" }, told), track);
  }));
}
