// Filters for long tables, and the interactive flame graph in the place of its picture. Sorting is in
// sortable.auto.min.js. Everything is complete without this script.
(function () {
  function filterOf(table) {
    const box = document.createElement("input");
    box.type = "search";
    box.className = "sp-filter-box";
    box.placeholder = "filter rows";
    box.setAttribute("aria-label", "filter the rows of this table");
    box.addEventListener("input", () => {
      const wanted = box.value.toLowerCase();
      for (const row of table.querySelectorAll("tbody tr"))
        row.hidden = !row.textContent.toLowerCase().includes(wanted);
    });
    table.parentNode.insertBefore(box, table);
    table.classList.remove("sp-filter");
  }
  const enhance = () => {
    showInteractive();
    document.querySelectorAll(".sp-table.sp-filter").forEach(filterOf);
  };
  function showInteractive() {  // the flame graph that zooms, in the place of its picture
    for (const frame of document.querySelectorAll(".sp-flame:not(.sp-shown)")) {
      const cell = frame.closest(".jp-Cell, .jp-OutputArea");
      if (cell) cell.querySelectorAll("img").forEach((image) => { image.hidden = true; });
      frame.classList.add("sp-shown");
    }
  }
  function openTarget() {  // a folded part that a link leads to
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const fold = target && target.closest("details");
    if (fold) fold.open = true;
  }
  function start() {
    document.body.classList.add("sp-scripted");
    enhance();
    openTarget();
    new MutationObserver(enhance).observe(document.body, { childList: true, subtree: true });
    window.addEventListener("hashchange", openTarget);
  }
  document.readyState === "loading" ? document.addEventListener("DOMContentLoaded", start) : start();
})();
