"use strict";
// Sorts, filters and enlarges; the page is complete without it.
(() => {
  const table = document.getElementById("cases");
  const heads = [...table.tHead.rows[0].cells];
  const cases = [...table.tBodies];
  const find = document.getElementById("filter");
  const show = document.getElementById("show");
  const shown = document.getElementById("shown");
  // What is worst at the top at the first click.
  const descending = new Set(["radius", "warnings", "duration"]);
  const texts = new Map(cases.map((one) => [one, one.textContent.toLowerCase()]));

  // A case without the value stands last, whatever the direction.
  function compare(key, sign) {
    return (a, b) => {
      const [left, right] = [a.dataset[key], b.dataset[key]];
      if (left === undefined || right === undefined) {
        return (left === undefined) - (right === undefined) || a.dataset.rank - b.dataset.rank;
      }
      const order = key === "case"
        ? left.localeCompare(right, undefined, { numeric: true })
        : left - right;
      return sign * order || a.dataset.rank - b.dataset.rank;
    };
  }

  function sortBy(head) {
    const key = head.querySelector("button").dataset.key;
    const before = head.getAttribute("aria-sort");
    const isDescending = before ? before === "ascending" : descending.has(key);
    for (const other of heads) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", isDescending ? "descending" : "ascending");
    cases.sort(compare(key, isDescending ? -1 : 1));
    table.append(...cases);
  }

  function filter() {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const one of cases) {
      const concern = one.dataset.concern;
      const isWanted = show.value === "" || concern === "failed"
        || (show.value === "flagged" && concern === "check");
      one.hidden = !(isWanted && words.every((word) => texts.get(one).includes(word)));
      count += !one.hidden;
    }
    shown.textContent = count === cases.length
      ? `${count} cases` : `${count} of ${cases.length} cases`;
  }

  function enlarge(button) {
    const isLarge = button.closest(".panel").classList.toggle("large");
    button.setAttribute("aria-pressed", String(isLarge));
    button.textContent = isLarge ? "reduce" : "enlarge";
  }

  for (const head of heads) head.addEventListener("click", () => sortBy(head));
  find.addEventListener("input", filter);
  show.addEventListener("change", filter);
  table.addEventListener("click", (event) => {
    const button = event.target.closest("button.enlarge");
    if (button) enlarge(button);
  });
  const form = document.getElementById("toolbar");
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  for (const button of table.querySelectorAll("button.enlarge")) button.hidden = false;
  filter(); // a reload may bring back what was typed
})();
