"use strict";
// Tables sort by a heading and filter by what is typed; without this script they are as the report has sorted them.

function valueOf(cell) {
  return "value" in cell.dataset ? Number(cell.dataset.value) : cell.textContent.trim();
}

function compareValues(a, b) {
  if (typeof a === "string") return a.localeCompare(b);
  return Number.isNaN(a) || Number.isNaN(b) ? 0 : a - b;
}

function makeSortable(table) {
  const headings = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  const sort = (column, ascending) => {
    const rows = [...body.rows].map((row) => [valueOf(row.cells[column]), row]);
    rows.sort(([a], [b]) => {
      const missing = Number.isNaN(a) - Number.isNaN(b); // no value: last, either way
      return missing || compareValues(a, b) * (ascending ? 1 : -1);
    });
    body.append(...rows.map(([, row]) => row));
    headings.forEach((heading) => heading.removeAttribute("aria-sort"));
    headings[column].setAttribute("aria-sort", ascending ? "ascending" : "descending");
  };
  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const sorted = heading.getAttribute("aria-sort");
      sort(column, sorted ? sorted !== "ascending" : !heading.classList.contains("number"));
    });
  });
}

function makeFilters(filters) {
  const section = filters.closest("section");
  const levels = [...section.querySelectorAll(".level")];
  const [text, level, group] = ["text", "level", "group"].map((name) => filters.querySelector(`.filter-${name}`));
  const apply = () => {
    const words = text.value.toLocaleLowerCase().split(/\s+/).filter(Boolean);
    let left = 0;
    for (const part of levels) {
      const chosen = !level.value || level.value === part.dataset.level;
      let shown = 0;
      for (const row of part.querySelector("tbody").rows) {
        const content = row.textContent.toLocaleLowerCase();
        row.hidden = !words.every((word) => content.includes(word)) || !!(group?.value && group.value !== row.dataset.group);
        shown += !row.hidden;
      }
      part.hidden = !chosen || !shown;
      left += chosen ? shown : 0;
    }
    filters.querySelector("output").textContent = `${left} ${left === 1 ? "class" : "classes"}`;
  };
  filters.addEventListener("input", apply);
  filters.addEventListener("change", apply);
  filters.hidden = false;
  apply(); // a browser keeps what was typed when a page is loaded again
}

document.querySelectorAll("table.sortable").forEach(makeSortable);
document.querySelectorAll(".filters").forEach(makeFilters);
