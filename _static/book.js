// What the pages themselves do: the reading mode, the fading edges of what scrolls, the drawers.

(() => {
  const root = document.documentElement;
  const remembered = (() => {
    try { return localStorage.getItem("reading"); } catch { return null; }
  })();
  // Before anything is drawn, so that nothing moves and nobody who reads in the dark is dazzled.
  if (root.dataset.theme === "auto") {
    root.dataset.theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  }
  root.dataset.reading = remembered ?? "code";
  if (remembered) root.dataset.readingChosen = remembered;

  // Text set twice, in another face first, would move.
  const faces = ["1em 'Source Serif 4'", "italic 1em 'Source Serif 4'"];
  const patience = new Promise((resolve) => setTimeout(resolve, 500));
  root.classList.add("awaits-letters");
  Promise.race([Promise.all(faces.map((face) => document.fonts.load(face))), patience])
    .finally(() => root.classList.remove("awaits-letters"));

  const read = (mode) => {
    root.dataset.reading = mode;
    for (const cell of document.querySelectorAll("details.code:not(.hidden-code)")) {
      cell.open = mode === "code";
    }
    for (const button of document.querySelectorAll(".reading-switch button")) {
      button.setAttribute("aria-pressed", String(button.value === mode));
    }
  };

  const choose = (mode) => {
    // What the reader looks at stays where it is while cells above it fold.
    const anchor = [...document.querySelectorAll(".bd-article :is(p, h2, h3):not(details *)")]
      .find((element) => element.getBoundingClientRect().top > 80);
    const before = anchor?.getBoundingClientRect().top;
    root.dataset.readingChosen = mode;
    try { localStorage.setItem("reading", mode); } catch { /* a private window */ }
    read(mode);
    if (anchor) {
      const top = anchor.getBoundingClientRect().top - before;
      scrollBy({ top, behavior: "instant" });
    }
  };

  // A region that scrolls is a stop for the keyboard, one that does not is none.
  const REGIONS = ".bd-article :is(pre, .pst-scrollable-table-container, div.math > mjx-container)";
  const NAMES = { PRE: "Code", DIV: "Table", "MJX-CONTAINER": "Formula" };
  const fade = (region) => {
    const rest = region.scrollWidth - region.clientWidth;
    region.classList.toggle("scrolls", rest >= 1);
    region.classList.toggle("cut-left", region.scrollLeft > 1);
    region.classList.toggle("cut-right", rest - region.scrollLeft >= 1);
    if (rest >= 1) {
      region.tabIndex = 0;
      region.setAttribute("role", "group");
      region.setAttribute("aria-label", `${NAMES[region.tagName]}, scrolls sideways`);
    } else if (region.tabIndex === 0) {
      for (const name of ["tabindex", "role", "aria-label"]) region.removeAttribute(name);
    }
  };

  const reveal = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (let e = target?.closest("details"); e; e = e.parentElement.closest("details")) {
      if (!e.open) {
        e.open = true;
        target.scrollIntoView();
      }
    }
  };

  addEventListener("DOMContentLoaded", () => {
    read(root.dataset.reading);
    root.dataset.ready = "";
    reveal();
    addEventListener("hashchange", reveal);

    const regions = document.querySelectorAll(REGIONS);
    const sizes = new ResizeObserver((entries) => entries.forEach((e) => fade(e.target)));
    for (const region of regions) {
      sizes.observe(region);
      region.addEventListener("scroll", () => fade(region), { passive: true });
    }

    document.addEventListener("click", (event) => {
      const mode = event.target.closest(".reading-switch button");
      if (mode) choose(mode.value);
      const action = event.target.closest("[data-action]")?.dataset.action;
      if (action === "print") print();
      if (action === "full-screen") window.toggleFullScreen();
      // A drawer that has been used is in the way.
      event.target.closest("dialog a[href]")?.closest("dialog").close();
    });
  });

  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details.solution:not([open])")];
    for (const one of opened) one.open = true;
  });
  addEventListener("afterprint", () => { for (const one of opened) one.open = false; });
})();
