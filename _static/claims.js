/* The claims page: a filter by words, lecture, chapter and status.

The choice stands in the address (claims.html#lecture=003&status=quoted), so that a filtered list can
be linked. A link to one claim always shows it: a filter that hides it is cleared. */

document.addEventListener("DOMContentLoaded", () => {
  const place = document.querySelector(".claims-filter");
  if (!place) return;

  const sections = [...document.querySelectorAll("section.claims-section")].map((element) => ({
    element,
    chapter: element.id.replace("claims-", ""),
    title: element.querySelector("h2").firstChild.textContent,
    details: element.querySelector("details"),
    summary: element.querySelector("summary"),
    counts: element.querySelector("summary").textContent,
    claims: [...element.querySelectorAll("li.claim")].map((item) => ({
      item,
      text: item.textContent.toLowerCase(),
    })),
  }));
  const items = [...document.querySelectorAll("li.claim")];

  const valuesOf = (kind) =>
    [...new Set(items.flatMap((item) => [...item.classList]))]
      .filter((name) => name.startsWith(`${kind}-`))
      .map((name) => name.slice(kind.length + 1));
  const wordsOf = (status) =>
    document.querySelector(`li.claim.status-${status} .status`).textContent.trim();
  const choices = {
    lecture: valuesOf("lecture")
      .sort()
      .map((name) => [name, name === "none" ? "not in the lectures" : `lecture ${name}`]),
    chapter: sections.map(({ chapter, title }) => [chapter, title]),
    status: valuesOf("status").map((status) => [status, wordsOf(status)]),
  };

  const form = document.createElement("form");
  form.setAttribute("role", "search");
  form.setAttribute("aria-label", "Filter the claims");
  const control = (name, element) => {
    const label = document.createElement("label");
    label.append(name[0].toUpperCase() + name.slice(1), element);
    element.name = name;
    form.append(label);
  };
  control("words", Object.assign(document.createElement("input"), { type: "search" }));
  for (const [name, options] of Object.entries(choices)) {
    const select = document.createElement("select");
    select.append(new Option("all", ""), ...options.map(([value, text]) => new Option(text, value)));
    control(name, select);
  }
  const count = document.createElement("output");
  const clear = Object.assign(document.createElement("button"), {
    type: "reset",
    textContent: "Show all",
  });
  form.append(count, clear);
  place.append(form);

  const fields = ["words", "lecture", "chapter", "status"];
  const chosen = () => fields.filter((name) => form.elements[name].value.trim());

  /* Show what fits the controls, in open sections; without a choice, everything in closed ones. */
  function apply() {
    const { words, lecture, chapter, status } = form.elements;
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    const filtered = chosen().length > 0;
    let total = 0;
    for (const section of sections) {
      let shown = 0;
      for (const { item, text } of section.claims) {
        const fits =
          (!lecture.value || item.classList.contains(`lecture-${lecture.value}`)) &&
          (!status.value || item.classList.contains(`status-${status.value}`)) &&
          (!chapter.value || section.chapter === chapter.value) &&
          wanted.every((word) => text.includes(word));
        item.hidden = !fits;
        shown += fits;
      }
      section.element.hidden = shown === 0;
      section.details.open = filtered;
      section.summary.textContent = filtered
        ? `${shown} of ${section.claims.length} claims`
        : section.counts;
      total += shown;
    }
    count.textContent = !filtered
      ? `${items.length} claims`
      : total ? `${total} of ${items.length} claims` : "No claim fits this choice";
    clear.disabled = !filtered;
  }

  function write() {
    const state = new URLSearchParams(chosen().map((name) => [name, form.elements[name].value]));
    const address = chosen().length ? `#${state}` : location.pathname + location.search;
    history.replaceState(null, "", address);
  }

  /* Do what the address says: filter, or show one claim or one section. */
  function follow() {
    const address = decodeURIComponent(location.hash.slice(1));
    if (address.includes("=")) {
      const state = new URLSearchParams(location.hash.slice(1));
      for (const name of fields) {
        form.elements[name].value = state.get(name) ?? "";
        if (form.elements[name].selectedIndex < 0) form.elements[name].value = "";
      }
      apply();
      return;
    }
    const target = address && document.getElementById(address);
    const section = sections.find(({ element }) => element.contains(target || null));
    if (!section) return;
    if (target.closest("[hidden]")) {
      form.reset();
    }
    section.details.open = true;
    target.scrollIntoView();
  }

  form.addEventListener("input", () => {
    apply();
    write();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => {
    for (const name of fields) form.elements[name].value = "";
    apply();
  });
  clear.addEventListener("click", () => {
    form.reset();
    write();
    form.elements.words.focus();
  });
  window.addEventListener("hashchange", follow);
  apply();
  follow();
});
