"use strict";
// Sorting and filtering of a table of cases or objects.
(() => {
  const table = document.getElementById("case-table");
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const headers = [...table.tHead.rows[0].cells];
  const text = document.getElementById("filter-text");
  const finding = document.getElementById("filter-finding");
  const count = document.getElementById("filter-count");
  const collator = new Intl.Collator("en", { numeric: true });

  const valueIn = (column) => (row) => row.cells[column].dataset.value;

  function sort(column, descending) {
    const value = valueIn(column);
    const isNumber = headers[column].dataset.sort === "number";
    rows.sort((one, other) => {
      const [a, b] = [value(one), value(other)];
      if (a === "" || b === "") return (a === "") - (b === ""); // what has no value comes last
      const order = isNumber ? a - b : collator.compare(a, b);
      return descending ? -order : order;
    });
    body.append(...rows);
    headers.forEach((header) => header.removeAttribute("aria-sort"));
    headers[column].setAttribute("aria-sort", descending ? "descending" : "ascending");
  }

  function filter() {
    const wanted = text.value.trim().toLowerCase();
    let shown = 0;
    for (const row of rows) {
      const has = row.dataset.findings.split(" ").includes(finding.value);
      row.hidden = !((finding.value === "" || has) && row.textContent.toLowerCase().includes(wanted));
      shown += !row.hidden;
    }
    count.textContent = `${shown} of ${rows.length} ${table.dataset.unit}`;
  }

  headers.forEach((header, column) => {
    header.querySelector("button")?.addEventListener("click", () => {
      sort(column, header.getAttribute("aria-sort") === "ascending");
    });
  });
  text.addEventListener("input", filter);
  finding.addEventListener("change", filter);
  for (const link of document.querySelectorAll("[data-show]")) {
    link.addEventListener("click", () => {
      text.value = "";
      finding.value = link.dataset.show;
      filter();
    });
  }
  // A link to a case shows it, whatever is filtered.
  window.addEventListener("hashchange", () => {
    const row = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (row?.hidden) {
      text.value = finding.value = "";
      filter();
      row.scrollIntoView();
    }
  });
  document.querySelectorAll(".script-only").forEach((element) => (element.hidden = false));
  filter();
})();
