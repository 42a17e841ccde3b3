// The page is whole without this. It opens the story that a link leads to, and filters the list of stories.
"use strict";
(() => {
  const open = () => {
    const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    for (let e = target.parentElement; e; e = e.parentElement) if (e.localName === "details") e.open = true;
    target.scrollIntoView({ block: "start" });
  };
  addEventListener("hashchange", open);
  addEventListener("DOMContentLoaded", open);
  open();

  const bar = document.querySelector(".filters");
  if (!bar) return;
  bar.hidden = false;
  const find = bar.querySelector("input");
  const folds = [...document.querySelectorAll(".stories > details")];
  const words = new Map(folds.map((fold) => [fold, fold.textContent.toLowerCase()]));
  let kind = "";
  const filter = () => {
    const wanted = find.value.trim().toLowerCase();
    for (const fold of folds) {
      const fits = !kind || fold.dataset.standing.split(" ").includes(kind);
      fold.hidden = !(fits && words.get(fold).includes(wanted));
    }
    for (const button of bar.querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String(button.dataset.show === kind));
    }
  };
  bar.addEventListener("click", (event) => {
    if (event.target.localName !== "button") return;
    kind = event.target.dataset.show;
    filter();
  });
  find.addEventListener("input", filter);
  filter();
})();
