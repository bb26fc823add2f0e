
// What only a program can do: copying texts, and files of the tables. Without this script the texts and tables are all there.
const say = (button, text) => {
  const usual = (button.dataset.usual ??= button.textContent);
  button.textContent = text;
  setTimeout(() => (button.textContent = usual), 2000);
};
const buttonOf = (text, label, act) => {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "tool";
  button.textContent = text;
  button.setAttribute("aria-label", label);
  button.addEventListener("click", () => act(button));
  return button;
};

// Copies without the clipboard's interface, which pages that were not loaded securely do not have: as the user would.
const copySelected = (element) => {
  const range = document.createRange();
  range.selectNodeContents(element);
  const selection = getSelection();
  selection.removeAllRanges();
  selection.addRange(range);
  return document.execCommand("copy");
};
for (const copyable of document.querySelectorAll(".copyable")) {
  const code = copyable.querySelector("code");
  const copy = async (button) => {
    try {
      await navigator.clipboard.writeText(code.textContent);
      say(button, "Copied");
    } catch {
      say(button, copySelected(code) ? "Copied" : "Press Ctrl+C");
    }
  };
  copyable.append(buttonOf("Copy", `Copy ${copyable.dataset.name}`, copy));
}

// Tables as rows of texts: numbers in full, without what is only for the eye.
const textOf = (cell) => {
  const data = cell.querySelectorAll("data");
  if (data.length === 1) return data[0].value;
  return cell.textContent.replaceAll("\u00ad", "").replace(/\s+/g, " ").trim().replace(/^—$/, "");
};
const rowsOf = (table) =>
  [...table.rows].map((row) => [...row.cells].flatMap((cell) => [textOf(cell), ...Array(cell.colSpan - 1).fill("")]));
// An apostrophe keeps a spreadsheet from computing what begins like a formula.
const csvCell = (text) => {
  const safe = /^\s*[=+\-@＝＋－＠]/.test(text) && Number.isNaN(Number(text)) ? `'${text}` : text;
  return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
};
const csvOf = (table) => rowsOf(table).map((row) => row.map(csvCell).join(",") + "\r\n").join("");
const markdownText = (text) => text.replace(/[\\`*_{}[\]<>#|~]/g, "\\$&");
const markdownOf = (table) => {
  const [heads, ...rows] = rowsOf(table).map((row) => `| ${row.map(markdownText).join(" | ")} |`);
  const isNumber = [...table.rows[0].cells].map((cell) => cell.classList.contains("number"));
  return [heads, `|${isNumber.map((right) => (right ? "---:" : "---")).join("|")}|`, ...rows].join("\n") + "\n";
};
const markdownOfPage = () => {
  const shown = (element) => markdownText(element.textContent.replace(/\s+/g, " ").trim());
  const parts = [`# ${shown(document.querySelector("h1"))}\n`];
  for (const warning of document.querySelectorAll("#summary .warnings li")) parts.push(`- **${shown(warning)}**\n`);
  for (const lead of document.querySelectorAll("#summary > .lead")) parts.push(`${shown(lead)}\n`);
  for (const section of document.querySelectorAll("section")) {
    const tables = [...section.querySelectorAll("table")];
    const heading = section.querySelector("h2");
    if (heading && tables.length) parts.push(`## ${shown(heading)}\n`);
    parts.push(...tables.map(markdownOf));
  }
  for (const text of document.querySelectorAll(".copyable")) {
    parts.push(`${markdownText(text.dataset.name)}:\n\n    ${text.querySelector("code").textContent.replaceAll("\n", "\n    ")}\n`);
  }
  return parts.join("\n");
};

// A file of what is on the page. It goes to the disk without any connection.
const save = (name, type, text) => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: `${type};charset=utf-8` }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
};
const fileName = (ending) => `lora-slim ${ending}`.replace(/[^\w.-]+/g, "-");
for (const region of document.querySelectorAll(".scroll")) {
  const label = region.getAttribute("aria-label");
  const table = region.querySelector("table");
  const tools = document.createElement("p");
  tools.className = "tools";
  tools.append(buttonOf("CSV", `Save ${label} as CSV`, () => save(fileName(`${label}.csv`), "text/csv", csvOf(table))));
  region.after(tools);
}
const tools = document.createElement("p");
tools.className = "tools";
const saveReport = () => save(fileName("report.md"), "text/markdown", markdownOfPage());
tools.append(buttonOf("Save as Markdown", "Save the tables of this page as Markdown", saveReport));
document.querySelector("#summary").append(tools);
