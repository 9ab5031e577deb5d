/* The search page: finds entries of the book as one types, and links to the words in the page.
   `bookEntries` and their text's marks are described in book_extension/search.py. */
(() => {
  "use strict";

  const SHOWN = 40;
  const EXCERPT = { before: 70, after: 170 };
  // Prose first; what only names a thing in passing last.
  const RANKS = {
    chapter: 1.5, definition: 2, term: 1.6, statement: 1.3, section: 1, exercise: 0.7,
    reference: 0.6, symbol: 0.6, solution: 0.3, source: 0.4, claim: 0.12, library: 0.12,
  };
  const WORD = /[\p{L}\p{N}]+/gu;
  // A run of text that a browser finds in the page ends where a block or a formula begins.
  const BREAK = /[\n\t]/;

  const wordsOf = (text) => text.match(WORD) ?? [];

  /** One spelling for all: small letters, no accents, British as American. */
  function normalised(word) {
    return word.toLowerCase().normalize("NFD").replace(/\p{M}/gu, "").replace(/ß/g, "ss")
      .replace(/(?<=..)is(?=(e|ed|es|er|ers|ing|ation|ations)$)/, "iz")
      .replace(/ys(?=(e|ed|es|ing)$)/, "yz")
      .replace(/(?<=[bclnv])our/, "or")
      .replace(/tre(s?)$/, "ter$1")
      .replace(/ll(?=(ed|ing|er)$)/, "l");
  }

  const folded = (text) => wordsOf(text).map(normalised).join(" ");
  const index = new MiniSearch({
    fields: ["title", "defined", "text", "code"],
    tokenize: wordsOf,
    processTerm: normalised,
  });
  let entries, titles, bodies;

  /** Read the entries, half of the page's weight: once, when something is first looked for. */
  const readEntries = () => readEntries.done ??= new Promise((resolve, reject) => {
    const script = Object.assign(document.createElement("script"), { onerror: reject });
    script.src = new URL("_search/entries.js", location.href);
    script.onload = () => {
      entries = window.bookEntries.map((entry, id) => ({ id, ...entry }));
      titles = entries.map((entry) => folded(entry.title));
      bodies = entries.map((entry) => folded(entry.text));
      index.addAll(entries);
      resolve();
    };
    document.head.append(script);
  });

  /** Entries that match a query, the best first, each with the terms that matched. */
  function search(query) {
    const words = query.replace(/(?<!\p{L})(\p{L})_(?=[\p{L}\p{N}])/gu, "$1");
    const phrase = ` ${folded(words)} `;
    const holds = (text) => ` ${text} `.includes(phrase);
    const options = {
      boost: { title: 5, defined: 5, code: 0.3 },
      prefix: (term) => term.length > 2,
      fuzzy: (term) => (term.length > 4 ? 0.2 : 0),
      weights: { prefix: 0.5, fuzzy: 0.2 },
      boostDocument: (id) => RANKS[entries[id].kind]
        * (holds(titles[id]) ? 3 : holds(bodies[id]) ? 1.7 : 1),
    };
    const all = index.search(words, { ...options, combineWith: "AND" });
    return all.length ? all : index.search(words, options);
  }

  /** Where words of a text are among the terms that matched: pairs of start and end. */
  function placesOf(terms, text) {
    const places = [];
    for (const match of text.matchAll(WORD)) {
      if (terms.has(normalised(match[0]))) {
        places.push([match.index, match.index + match[0].length]);
      }
    }
    return places;
  }

  /** The place from which on an excerpt holds most of the terms. */
  function bestPlace(places, text) {
    let best = places[0], most = 0;
    for (const place of places) {
      const near = places.filter(
        ([start, end]) => start >= place[0] && end <= place[0] + EXCERPT.after);
      const distinct = new Set(near.map(([start, end]) => normalised(text.slice(start, end))));
      // Words side by side count for more than the same words apart.
      const adjacent = near.length > 1 && near[1][0] - near[0][1] < 2 ? 0.5 : 0;
      if (distinct.size + adjacent > most) {
        [best, most] = [place, distinct.size + adjacent];
      }
    }
    return best;
  }

  /** A text directive that makes the browser scroll to the words at a place and mark them. */
  function directive(places, place, text) {
    const inFormula = text.slice(0, place[0]).split("\t").length % 2 === 0;
    if (inFormula || !("fragmentDirective" in document)) {
      return "";
    }
    let [start, end] = place;
    for (const [nextStart, nextEnd] of places) {
      if (nextStart > end && /^[ -]$/.test(text.slice(end, nextStart))) {
        end = nextEnd;
      }
    }
    const before = text.slice(0, start).split(BREAK).at(-1);
    const after = text.slice(end).split(BREAK)[0];
    const prefix = before.match(/(?:\S+\s+){0,4}\S*\s*$/)[0].trim();
    const suffix = after.match(/^\s*\S*(?:\s+\S+){0,4}/)[0].trim();
    const coded = (words) => encodeURIComponent(words).replace(/-/g, "%2D");
    return ":~:text=" + (prefix && `${coded(prefix)}-,`) + coded(text.slice(start, end))
      + (suffix && `,-${coded(suffix)}`);
  }

  const element = (name, className, ...content) => {
    const made = Object.assign(document.createElement(name), { className });
    made.append(...content);
    return made;
  };

  /** The text between two places, the words that matched marked. */
  function marked(text, places, from, to) {
    const parts = [];
    let end = from;
    const readable = (part) => part.replace(/\t/g, "").replace(/\n/g, " ");
    for (const [start, stop] of places.filter((place) => place[0] >= from && place[1] <= to)) {
      parts.push(readable(text.slice(end, start)), element("mark", "", text.slice(start, stop)));
      end = stop;
    }
    return [...parts, readable(text.slice(end, to))];
  }

  function excerpt(text, places, place) {
    const first = Math.max(place[0] - EXCERPT.before, 0);
    const last = Math.min(place[0] + EXCERPT.after, text.length);
    const from = first - text.slice(0, first).match(/\S*$/)[0].length;
    const to = last + text.slice(last).match(/^\S*/)[0].length;
    return [
      from > 0 ? "… " : "", ...marked(text, places, from, to), to < text.length ? " …" : "",
    ];
  }

  function item(hit) {
    const entry = entries[hit.id];
    const terms = new Set(hit.terms);
    const field = ["text", "code"].find((name) => placesOf(terms, entry[name]).length);
    const text = entry[field ?? "text"];
    const places = placesOf(terms, text);
    const place = places.length ? bestPlace(places, text) : null;
    const link = element("a", "search-title",
      ...marked(entry.title, placesOf(terms, entry.title), 0, entry.title.length));
    link.href = entry.address + (place ? directive(places, place, text) : "");
    const made = element("li", `search-${entry.kind}`, link);
    if (entry.above.length) {
      made.append(element("span", "search-above", entry.above.join(" › ")));
    }
    const shown = excerpt(text, places, place ?? [0, 0]);
    made.append(element(field === "code" ? "code" : "span", "search-excerpt", ...shown));
    return made;
  }

  const field = document.getElementById("search-query");
  const status = document.getElementById("search-status");
  const list = document.getElementById("search-hits");

  async function show() {
    if (field.value.trim()) {
      await readEntries();
    }
    const query = field.value.trim();
    const hits = wordsOf(query).length ? search(query) : [];
    list.replaceChildren(...hits.slice(0, SHOWN).map(item));
    const places = hits.length === 1 ? "1 place" : `${hits.length} places`;
    const best = hits.length > SHOWN ? `, the best ${SHOWN} are shown` : "";
    status.textContent = !query ? ""
      : hits.length ? `${places} for “${query}”${best}`
      : `Nothing for “${query}”. Fewer words, or another spelling, may help.`;
    document.title = document.title.replace(/^.*?(?=Search - )/, query ? `${query} - ` : "");
    const address = new URL(location.href);
    address.search = query ? `?${new URLSearchParams({ q: query })}` : "";
    history.replaceState(null, "", address);
  }

  let timer;
  field.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(show, 120);
  });
  field.form.addEventListener("submit", async (event) => {
    event.preventDefault();
    clearTimeout(timer);
    await show();
    list.querySelector("a")?.focus();
  });
  document.querySelector(".search-page").addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) {
      return;
    }
    const stops = [field, ...list.querySelectorAll("a")];
    const next = stops[stops.indexOf(document.activeElement) + step];
    if (next) {
      event.preventDefault();
      next.focus();
    }
  });

  field.value = new URLSearchParams(location.search).get("q") ?? "";
  field.focus();
  show();
})();
