/* Shows what a link leads to while one points at it, focuses it, or after a first tap.
   The links are marked by book_extension/previews.py. Without script or popovers they just lead. */
document.addEventListener("DOMContentLoaded", () => {
  "use strict";

  const article = document.querySelector("article");
  if (!article || !("popover" in HTMLElement.prototype)) {
    return;
  }
  const DELAY = 250;
  const GAP = 6;
  const CONTROLS = ".headerlink, .explore-controls, button, input, output, script, style";
  const REFERRING = ["id", "for", "aria-describedby", "aria-labelledby", "data-preview"];

  const tip = document.createElement("div");
  Object.assign(tip, { id: "book-preview", className: "preview", popover: "manual" });
  tip.setAttribute("role", "tooltip");

  let wanted = null; // the link whose preview is shown, or is about to be
  let left = null; // the link whose preview was dismissed while the pointer is still on it
  let timer;
  let lastPointer = "mouse";

  /** What another page shows of itself, as a document; loaded once. */
  const documents = new Map();
  function otherPage(address, root) {
    if (!documents.has(address)) {
      documents.set(address, new Promise((resolve, reject) => {
        const script = document.createElement("script");
        script.src = new URL(`_previews/${address.replace(/html$/, "js")}`, root).href;
        script.onerror = reject;
        script.onload = () => resolve(
          new DOMParser().parseFromString(window.bookPreviews[address], "text/html"));
        document.head.append(script);
      }));
    }
    return documents.get(address);
  }

  /** The target of a link, copied, without what only works in its place. */
  async function contentOf(link) {
    const root = new URL(document.documentElement.dataset.content_root, location.href);
    const page = link.href.split("#")[0];
    const here = link.getAttribute("href").startsWith("#");
    const source = here ? document : await otherPage(page.slice(root.href.length), root);
    const target = source.getElementById(decodeURIComponent(link.hash.slice(1)));
    let copy = target.cloneNode(true);
    if (target.matches("dt")) {
      copy = target.parentElement.cloneNode(false);
      let part = target;
      do {
        copy.append(part.cloneNode(true));
        part = part.nextElementSibling;
      } while (part?.matches("dd"));
    }
    for (const element of copy.querySelectorAll(CONTROLS)) {
      element.remove();
    }
    copy.removeAttribute("role"); // an item of a list, without its list
    for (const region of copy.querySelectorAll(".scrolls")) {
      region.classList.remove("scrolls");
      ["role", "aria-label", "tabindex"].forEach((name) => region.removeAttribute(name));
    }
    for (const element of [copy, ...copy.querySelectorAll("*")]) {
      REFERRING.forEach((name) => element.removeAttribute(name));
      for (const name of ["href", "src"].filter((each) => element.hasAttribute(each))) {
        element.setAttribute(name, new URL(element.getAttribute(name), page).href);
      }
    }
    for (const inner of copy.querySelectorAll("a")) {
      inner.tabIndex = -1; // the Tab key goes on in the text
    }
    return copy;
  }

  /** Put the preview below its link, or above where there is more room. */
  function place(link) {
    const box = link.getBoundingClientRect();
    const screen = document.documentElement;
    const header = document.querySelector(".bd-header-article")?.offsetHeight ?? 0;
    const above = box.top - 2 * GAP - header;
    const below = screen.clientHeight - box.bottom - 2 * GAP;
    tip.style.maxHeight = "";
    const under = tip.offsetHeight <= below || below >= above;
    tip.style.maxHeight = `${under ? below : above}px`;
    const top = under ? box.bottom + GAP : box.top - GAP - tip.offsetHeight;
    const rightmost = screen.clientWidth - tip.offsetWidth - GAP;
    tip.style.top = `${top + scrollY}px`;
    tip.style.left = `${Math.max(GAP, Math.min(box.left, rightmost)) + scrollX}px`;
    // What scrolls must be within the keyboard's reach.
    const scrolls = tip.scrollHeight > tip.clientHeight || tip.scrollWidth > tip.clientWidth;
    scrolls ? tip.setAttribute("tabindex", "0") : tip.removeAttribute("tabindex");
  }

  async function open(link, tapped = false) {
    hide();
    wanted = link;
    let content;
    try {
      content = await contentOf(link);
    } catch {
      if (tapped) {
        location.href = link.href;
      }
      return;
    }
    if (wanted !== link) {
      return;
    }
    tip.replaceChildren(content);
    if (tapped) {
      const go = document.createElement("a");
      Object.assign(go, { className: "preview-go", href: link.href, textContent: "Go there" });
      tip.append(go);
    }
    tip.showPopover({ source: link });
    tip.scrollTo(0, 0);
    place(link);
    link.setAttribute("aria-describedby", tip.id);
  }

  function hide() {
    clearTimeout(timer);
    wanted?.removeAttribute("aria-describedby");
    wanted = null;
    if (tip.matches(":popover-open")) {
      tip.hidePopover();
    }
  }

  function later(action, ...values) {
    clearTimeout(timer);
    timer = setTimeout(action, DELAY, ...values);
  }

  const linkAt = (element) => tip.contains(element) ? null : element.closest?.("a[data-preview]");

  document.addEventListener("pointerover", ({ target, pointerType }) => {
    if (pointerType === "touch") {
      return;
    }
    const link = linkAt(target);
    left = link === left ? left : null;
    if (tip.contains(target) || (link && link === wanted)) {
      clearTimeout(timer);
    } else if (link && link !== left) {
      later(open, link);
    } else if (!wanted?.matches(":focus-visible") && !tip.contains(document.activeElement)) {
      later(hide);
    }
  });
  document.addEventListener("focusin", ({ target }) => {
    const link = linkAt(target);
    if (link?.matches(":focus-visible")) {
      later(open, link);
    } else if (!tip.contains(target)) {
      hide();
    }
  });
  document.addEventListener("keydown", ({ key }) => {
    if (key === "Escape") {
      left = wanted;
      hide();
    }
  });
  document.addEventListener("pointerdown", ({ target, pointerType }) => {
    lastPointer = pointerType;
    if (!tip.contains(target) && linkAt(target) !== wanted) {
      hide();
    }
  });
  document.addEventListener("click", (event) => {
    const link = linkAt(event.target);
    if (link && lastPointer === "touch" && link !== wanted) {
      event.preventDefault();
      open(link, true);
    } else if (link || event.target.closest?.("a")) {
      hide();
    }
  });
  addEventListener("resize", hide);

  article.append(tip);
});
