// The cohort's page: headings sort, a word and a choice filter.
"use strict";

const body = document.querySelector("tbody");
const rows = [...body.rows];
for (const heading of document.querySelectorAll("th[data-sort]")) heading.addEventListener("click", () => sortBy(heading));
document.getElementById("search").addEventListener("input", filter);
document.getElementById("which").addEventListener("change", filter);
filter();

/** Sort by a column, the other way round at the second click; what has no number comes last either way. */
function sortBy(heading) {
  const ascending = heading.getAttribute("aria-sort") !== "ascending";
  for (const other of document.querySelectorAll("th[data-sort]")) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
  const value = (row) => {
    const cell = row.cells[heading.cellIndex];
    const text = cell.dataset.value ?? cell.textContent.trim();
    return heading.dataset.sort === "text" ? text : text === "" || Number.isNaN(Number(text)) ? null : Number(text);
  };
  rows.sort((a, b) => {
    const [one, other] = [value(a), value(b)];
    if (one === null || other === null) return (one === null) - (other === null);
    const order = heading.dataset.sort === "text" ? one.localeCompare(other, undefined, { numeric: true }) : one - other;
    return ascending ? order : -order;
  });
  body.append(...rows);
}

function filter() {
  const wanted = document.getElementById("search").value.toLowerCase();
  const which = document.getElementById("which").value;
  for (const row of rows) {
    row.hidden = !(row.textContent.toLowerCase().includes(wanted) && (which === "" || row.dataset.kinds.split(" ").includes(which)));
  }
  document.getElementById("count").textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length}`;
}
