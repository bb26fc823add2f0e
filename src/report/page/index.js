// The table begins with rows that need no script. This draws the others when they come into view, searches, filters and sorts.
const table = document.querySelector("table.sortable");
const body = table.tBodies[0];
const headings = [...table.tHead.rows[0].cells];
const more = document.querySelector("#more");
const data = JSON.parse(document.querySelector("#rows")?.textContent ?? "null");
const CHUNK = 100;
const HEAD = 6;

// Numbers as the filters of the document show them.
const bytes = (count) => {
  const units = ["KiB", "MiB", "GiB", "TiB"];
  if (count < 1024) return `${count} B`;
  let unit = 0;
  for (count /= 1024; count >= 1024 && unit + 1 < units.length; unit += 1) count /= 1024;
  return `${count.toFixed(1)} ${units[unit]}`;
};
const show = {
  integer: String,
  bytes,
  percent: (share) => `${(share * 100).toFixed(1)} %`.replace("-", "−"),
  loss: (value) => value.toFixed(4),
  score: (value) => value.toFixed(1),
};

const element = (name, text, classes) => {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (classes) made.className = classes;
  return made;
};
const addressOf = (name, link) =>
  typeof link === "string" ? link : `./${name}${link === 1 ? ".html" : "/slim_report.json"}`;
const drawn = ([name, link, status, codes, error, removed, ...numbers]) => {
  const row = element("tr", undefined, status === "done" ? "" : status);
  const head = element("th");
  head.scope = "row";
  const shown = element("bdi", name);
  if (link) {
    const anchor = element("a");
    anchor.href = addressOf(name, link);
    anchor.append(shown);
    head.append(anchor);
  } else {
    head.append(shown);
  }
  const state = element("td", status);
  if (codes.length) state.append(element("small", codes.map((code) => data.codes[code]).join(", ")));
  if (removed) state.append(", input removed");
  row.append(head, state);
  if (error) {
    const cell = element("td", error, "error");
    cell.colSpan = data.columns.length || 1;
    row.append(cell);
    return row;
  }
  data.columns.forEach((column, place) => {
    const cell = element("td", undefined, column.minor ? "number minor" : "number");
    const number = numbers[place];
    if (number === null) {
      cell.textContent = "—";
    } else {
      const value = element("data", show[column.filter](number));
      value.value = number;
      cell.append(value);
    }
    row.append(cell);
  });
  return row;
};

// The rows as values, whether they are drawn from the data or were in the document.
const rows = data
  ? data.rows.map((row) => ({
      row,
      name: row[0].toLowerCase(),
      status: row[2],
      codes: row[3].map((code) => data.codes[code]),
      values: [row[0], row[2], ...row.slice(HEAD)],
    }))
  : [...body.rows].map((made) => {
      const values = headings.map((_, column) => {
        const cell = made.cells[column];
        const number = cell?.querySelector("data");
        return number ? Number(number.value) : column > 1 ? null : cell.firstChild.textContent.split(", input")[0];
      });
      const codes = made.cells[1].querySelector("small")?.textContent.split(", ") ?? [];
      return { made, name: values[0].toLowerCase(), status: values[1], codes, values };
    });

let wanted = rows;
let at = data ? body.rows.length : rows.length;
const draw = () => {
  const next = wanted.slice(at, at + CHUNK);
  body.append(...next.map((one) => (one.made ??= drawn(one.row))));
  at += next.length;
  if (more) more.textContent = at < wanted.length ? `${at} of ${wanted.length} rows are shown; scroll for more.` : "";
};

let by = null;
let up = true;
const compare = (one, other) => {
  const [a, b] = [one.values[by], other.values[by]];
  if (typeof a === "number" && typeof b === "number") return up ? a - b : b - a;
  if (typeof a === "string" && typeof b === "string") return (up ? 1 : -1) * (a < b ? -1 : a > b ? 1 : 0);
  return typeof a === "number" ? -1 : typeof b === "number" ? 1 : 0;
};
const filters = document.querySelector("#filters");
const [search, select, output] = ["input", "select", "output"].map((name) => filters.querySelector(name));
const update = () => {
  const [text, kind] = [search.value.trim().toLowerCase(), select.value];
  const isWanted = (one) =>
    one.name.includes(text) &&
    (!kind || (kind === "*" ? one.codes.length : kind[0] === "*" ? one.codes.includes(kind.slice(1)) : one.status === kind));
  wanted = rows.filter(isWanted);
  if (by !== null) wanted.sort(compare);
  body.replaceChildren();
  at = 0;
  draw();
  output.textContent = `${wanted.length} of ${rows.length}`;
};
filters.hidden = false;
search.addEventListener("input", update);
select.addEventListener("input", update);
headings.forEach((heading, column) => {
  const button = element("button");
  button.append(...heading.childNodes);
  heading.append(button);
  button.addEventListener("click", () => {
    up = by !== column || !up;
    by = column;
    headings.forEach((other) => other.removeAttribute("aria-sort"));
    heading.setAttribute("aria-sort", up ? "ascending" : "descending");
    update();
  });
});
if (more) {
  const observer = new IntersectionObserver((seen) => {
    if (!seen.some((one) => one.isIntersecting) || at >= wanted.length) return;
    draw();
    // It may still be in view, which alone would not be told again.
    observer.unobserve(more);
    observer.observe(more);
  }, { rootMargin: "1000px" });
  observer.observe(more);
}
