"use strict";
// The flip browser. Whatever comes from a model or a data set is put in as text, never as markup.
(() => {
  const phrases = JSON.parse(document.getElementById("phrases").textContent);
  const app = document.getElementById("flip-app");
  const STATUSES = ["answered", "no_answer", "cut_off", "infrastructure_error", "missing"];
  const CHANGES = ["lost", "gained", "both_right", "both_wrong", "change.unscored"];
  const FLIPS = "flips", ALL = "all";
  const TALLEST = 15e6; // pixels: browsers draw no taller element
  const KEPT = 8; // unpacked chunks
  const LONGEST_MARK = 400; // characters of an answer that is marked inside its text

  const say = (key, figures = {}) => phrases[key].replace(/\{(\w+)\}/g, (_, name) => figures[name]);
  const number = (value) => value.toLocaleString("en-US");

  function make(tag, attributes = {}, ...content) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name === "class") element.className = value;
      else element.setAttribute(name, value);
    }
    element.append(...content);
    return element;
  }

  function decoded(base64) {
    if (Uint8Array.fromBase64) return Uint8Array.fromBase64(base64);
    const raw = atob(base64);
    const bytes = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
    return bytes;
  }

  async function unpack(id) {
    const bytes = decoded(document.getElementById(id).textContent);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  }

  // ---------------------------------------------------------------- the index and its filters

  let index, candidates;
  const haystack = [];
  let shown = new Uint32Array(0); // pairs of item and candidate: item * candidates + candidate
  const filters = { bench: ALL, candidate: ALL, change: FLIPS, subgroup: ALL, status: ALL, search: "" };

  function prepare(found) {
    index = found;
    candidates = index.compared.length;
    index.changes = index.changes.map((codes) => Uint8Array.from(codes, Number));
    index.status = index.status.map((codes) => {
      const masks = new Uint8Array(codes.length / 2);
      for (let i = 0; i < masks.length; i++) masks[i] = parseInt(codes.substr(2 * i, 2), 16);
      return masks;
    });
  }

  // The texts to search, in lower case, as far as `until` (performance.now()) allows.
  function searchable(until = Infinity) {
    const { id, snippet, reference, short } = index;
    for (let item = haystack.length; item < id.length; item++) {
      if (item % 500 === 0 && performance.now() > until) break;
      let text = `${id[item]}\n${snippet[item]}\n${reference[item]}`;
      for (const column of short) text += `\n${column[item]}`;
      haystack.push(text.toLowerCase());
    }
    return haystack;
  }

  function searchableSoon() {
    if (searchable(performance.now() + 12).length < index.id.length) setTimeout(searchableSoon);
  }

  function select() {
    const items = index.id.length;
    const found = new Uint32Array(items * candidates);
    const bench = filters.bench === ALL ? -1 : Number(filters.bench);
    const candidate = filters.candidate === ALL ? -1 : Number(filters.candidate);
    const [ofBench, subgroup] = filters.subgroup === ALL ? [-1, -1] : filters.subgroup.split(":").map(Number);
    const mask = filters.status === ALL ? 0 : 1 << Number(filters.status);
    const wanted = filters.search.trim().toLowerCase();
    const texts = wanted ? searchable() : null;
    const change = [FLIPS, ALL].includes(filters.change) ? -1 : Number(filters.change);
    let count = 0;
    for (let item = 0; item < items; item++) {
      if (bench >= 0 && index.bench[item] !== bench) continue;
      if (subgroup >= 0 && (index.bench[item] !== ofBench || index.subgroup[item] !== subgroup)) continue;
      if (texts && !texts[item].includes(wanted)) continue;
      for (let c = 0; c < candidates; c++) {
        if (candidate >= 0 && c !== candidate) continue;
        const code = index.changes[c][item];
        if (change >= 0 ? code !== change : filters.change === FLIPS && code > 1) continue;
        if (mask && !((index.status[index.baseline][item] | index.status[index.compared[c][0]][item]) & mask)) continue;
        found[count++] = item * candidates + c;
      }
    }
    return found.subarray(0, count);
  }

  // ---------------------------------------------------------------- the list

  let list, room, counter, empty;
  let height = 76; // pixels of a row
  let stretch = 1; // pixels of the whole list for a pixel of the scrollbar
  let current = -1; // position in `shown`
  const pool = [];

  function name(variant) {
    return index.variants[variant];
  }

  function resize() {
    const whole = shown.length * height;
    const tall = Math.min(whole, TALLEST), view = list.clientHeight || 600;
    stretch = whole > tall ? (whole - view) / (tall - view) : 1;
    room.style.height = `${tall}px`;
  }

  function draw() {
    const view = list.clientHeight || 600, scrolled = list.scrollTop; // read before anything is written
    const top = scrolled * stretch;
    const first = Math.max(0, Math.floor(top / height) - 4);
    const last = Math.min(shown.length, Math.ceil((top + view) / height) + 4);
    while (pool.length < last - first) pool.push(newRow());
    pool.forEach((row, n) => {
      const position = first + n;
      row.hidden = position >= last;
      if (position < last) fill(row, position, scrolled + position * height - top);
    });
    if (current >= first && current < last) list.setAttribute("aria-activedescendant", `row-${current}`);
    else list.removeAttribute("aria-activedescendant");
  }

  function newRow() {
    const row = make("div", { class: "row", role: "option" });
    const id = make("span"), tag = make("span", { class: "tag" });
    row.parts = { id, tag, snippet: make("div"), answers: make("div", { class: "answers-read" }) };
    row.append(make("div", { class: "top" }, id, tag), row.parts.snippet, row.parts.answers);
    row.addEventListener("click", () => choose(row.position, true));
    room.append(row);
    return row;
  }

  function fill(row, position, y) {
    const item = Math.floor(shown[position] / candidates), c = shown[position] % candidates;
    const code = index.changes[c][item], variant = index.compared[c][0];
    row.position = position;
    row.id = `row-${position}`;
    row.style.transform = `translateY(${y}px)`;
    row.setAttribute("aria-selected", String(position === current));
    row.setAttribute("aria-setsize", String(shown.length));
    row.setAttribute("aria-posinset", String(position + 1));
    row.parts.id.textContent = index.id[item];
    row.parts.tag.textContent = say(CHANGES[code]);
    row.parts.tag.className = `tag ${CHANGES[code]}`;
    row.parts.snippet.textContent = index.snippet[item] || index.benches[index.bench[item]][0];
    const before = index.short[index.baseline][item] || "–", after = index.short[variant][item] || "–";
    row.parts.answers.textContent = `${name(variant)}: ${before} → ${after}`;
  }

  function refresh() {
    shown = select();
    current = -1;
    list.hidden = !shown.length;
    empty.hidden = Boolean(shown.length);
    counter.textContent = say("found", { count: number(shown.length), total: number(index.id.length * candidates) });
    if (shown.length) return choose(0, false);
    resize();
    draw();
    detail.replaceChildren();
  }

  function choose(position, asked) {
    current = Math.max(0, Math.min(shown.length - 1, position));
    resize();
    const y = (current * height) / stretch, view = list.clientHeight, scrolled = list.scrollTop;
    if (y < scrolled) list.scrollTop = y;
    else if (y + height > scrolled + view) list.scrollTop = y + height - view;
    draw();
    open(shown[current]);
    if (asked && getComputedStyle(panes).gridTemplateColumns.split(" ").length === 1) detail.scrollIntoView();
  }

  function onKey(event) {
    const page = Math.max(1, Math.floor(list.clientHeight / height) - 1);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    if (!(event.key in steps) || !shown.length) return;
    event.preventDefault();
    choose(Math.max(0, Math.min(shown.length - 1, current + steps[event.key])), false);
  }

  // ---------------------------------------------------------------- one item

  let detail, panes;
  const chunks = new Map();

  async function texts(item) {
    let low = 0, high = index.starts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (index.starts[middle] <= item) low = middle;
      else high = middle - 1;
    }
    if (!chunks.has(low)) {
      chunks.set(low, unpack(`book-${low}`));
      if (chunks.size > KEPT) chunks.delete(chunks.keys().next().value);
    }
    return (await chunks.get(low))[item - index.starts[low]];
  }

  async function open(pair, sample = 0) {
    const item = Math.floor(pair / candidates), c = pair % candidates;
    const found = await texts(item);
    if (current < 0 || shown[current] !== pair) return; // another one was chosen meanwhile
    const variant = index.compared[c][0];
    const [bench, stem, subgroups, samples, withheld] = index.benches[index.bench[item]];
    const about = [bench, subgroups[index.subgroup[item]], say(CHANGES[index.changes[c][item]])].filter(Boolean);
    const heading = make("h3", { id: "item-title" }, index.id[item]);
    const buttons = make("div", { class: "buttons" });
    if (samples > 1) buttons.append(samplePicker(found[2][index.baseline], found[2][variant], sample, pair));
    buttons.append(step("previous", -1), step("next", 1));
    const parts = [make("div", { class: "detail-head" }, heading, buttons), make("p", { class: "quiet" }, about.join(" · "))];
    if (withheld) parts.push(make("p", { class: "note" }, say(`withheld.${withheld}`)));
    const [question, reference] = [found[0], found[1]].map((forms) => forms[sample % forms.length]);
    if (question) {
      const asked = make("details", { class: "asked", open: "" }, make("summary", {}, say("question")));
      asked.append(block(question, say("question")));
      parts.push(asked);
    }
    if (reference) {
      parts.push(make("div", { class: "reference" }, make("strong", {}, say("reference")), block(reference, say("reference"))));
    }
    const ours = found[2][index.baseline][sample], theirs = found[2][variant][sample];
    const same = common(ours[0], theirs[0]);
    const differ = whole(ours[1]) !== whole(theirs[1]);
    const where = (v) => stem && ({ path: `samples/${name(v)}/${stem}.jsonl`, item: index.id[item], sample });
    const sides = make("div", { class: "sides" });
    sides.append(side(index.baseline, say("baseline"), ours, differ, same, where(index.baseline)));
    sides.append(side(variant, say(index.compared[c][1] ? "control" : "candidate"), theirs, differ, same, where(variant)));
    parts.push(sides);
    if (same || differ) parts.push(make("p", { class: "note" }, say("same_up_to")));
    detail.replaceChildren(...parts);
  }

  function step(key, by) {
    const button = make("button", { type: "button" }, say(key));
    button.disabled = current + by < 0 || current + by >= shown.length;
    button.addEventListener("click", () => choose(current + by, false));
    return button;
  }

  function samplePicker(ours, theirs, chosen, pair) {
    const picker = make("select", { "aria-label": say("sample") });
    ours.forEach((_, k) => {
      const marks = `${verdict(ours[k][3])} → ${verdict(theirs[k][3])}`;
      picker.append(make("option", { value: String(k) }, `${say("sample")} ${k}: ${marks}`));
    });
    picker.value = String(chosen);
    picker.addEventListener("change", () => open(pair, Number(picker.value)));
    return picker;
  }

  function verdict(mark) {
    return mark === "1" ? say("right") : mark === "0" ? say("wrong") : mark || say("unscored");
  }

  function whole(text) {
    return Array.isArray(text) ? text.join("\u0000") : text;
  }

  function side(variant, role, answer, differ, same, where) {
    const [text, extracted, status, mark, tokens, finish, details] = answer;
    const box = make("article", { class: "side", "aria-label": `${role}: ${name(variant)}` });
    const judged = make("span", { class: `verdict ${mark === "0" ? "wrong" : ""}` }, verdict(mark));
    box.append(make("h4", {}, name(variant), make("span", { class: "quiet" }, role), judged));
    const list = make("dl");
    const put = (key, value) => list.append(make("dt", {}, key), make("dd", {}, value));
    if (extracted || text !== null) put(say("read"), extracted ? answered(extracted, differ) : say("nothing_read"));
    put(say("status"), say(STATUSES[status]));
    if (finish) put(say("finish"), finish);
    if (tokens !== null) put(say("tokens"), number(tokens));
    for (const [key, value] of details) put(key, value);
    box.append(list);
    if (text !== null) box.append(block(text, `${say("completion")}: ${name(variant)}`, differ ? extracted : "", same));
    if (text === "") box.append(make("p", { class: "quiet" }, say("no_text")));
    if (where) box.append(make("p", { class: "quiet" }, say("full_text", where)));
    return box;
  }

  function answered(extracted, differ) {
    const shownText = Array.isArray(extracted) ? `${extracted[0]} … ${extracted[2]}` : extracted;
    if (shownText.includes("\n")) return make("pre", { tabindex: "0" }, shownText);
    return differ ? make("mark", {}, shownText) : shownText;
  }

  // How many characters two texts have in common from their beginning; a few say nothing.
  function common(a, b) {
    if (a === null || b === null) return 0;
    const [x, y] = [a, b].map((text) => (Array.isArray(text) ? text[0] : text));
    const most = Math.min(x.length, y.length);
    let n = 0;
    while (n < most && x[n] === y[n]) n++;
    return n < 20 ? 0 : n;
  }

  // Where an answer stands last in a text, on its own: not inside a word or a number.
  function lastPlace(text, answer) {
    const inWord = /[\p{L}\p{N}]/u;
    let at = text.lastIndexOf(answer);
    while (at >= 0) {
      const before = text[at - 1] || " ", after = text[at + answer.length] || " ";
      const joined = (inWord.test(before) && inWord.test(answer[0])) || (inWord.test(after) && inWord.test(answer.at(-1)));
      if (!joined) return at;
      if (at === 0) return -1;
      at = text.lastIndexOf(answer, at - 1);
    }
    return -1;
  }

  function block(text, label, answer = "", same = 0) {
    const pre = make("pre", { class: "text", tabindex: "0", role: "region", "aria-label": label });
    const [head, leftOut, tail] = Array.isArray(text) ? text : [text, 0, ""];
    const marked = typeof answer === "string" && answer && answer.length <= LONGEST_MARK ? answer : "";
    const inTail = marked && tail ? lastPlace(tail, marked) : -1;
    append(pre, head, same, inTail < 0 && marked ? lastPlace(head, marked) : -1, marked.length);
    if (leftOut) {
      pre.append(make("span", { class: "cut" }, say("cut", { count: number(leftOut) })));
      append(pre, tail, 0, inTail, marked.length);
    }
    return pre;
  }

  function append(pre, text, same, at, length) {
    if (same) pre.append(make("span", { class: "same" }, text.slice(0, same)));
    if (at >= same) {
      pre.append(text.slice(same, at), make("mark", {}, text.slice(at, at + length)), text.slice(at + length));
    } else {
      pre.append(text.slice(same));
    }
  }

  // ---------------------------------------------------------------- the controls

  function chooser(key, label, options) {
    const element = make("select", { id: `filter-${key}` });
    for (const [value, words] of options) element.append(make("option", { value }, words));
    element.value = filters[key];
    element.addEventListener("change", () => {
      filters[key] = element.value;
      if (key === "bench") fillSubgroups();
      refresh();
    });
    return make("label", {}, label, element);
  }

  function subgroupOptions() {
    const options = [[ALL, say("all")]];
    index.benches.forEach(([bench, , subgroups], b) => {
      if (filters.bench !== ALL && Number(filters.bench) !== b) return;
      subgroups.forEach((subgroup, s) => options.push([`${b}:${s}`, filters.bench === ALL ? `${bench} / ${subgroup}` : subgroup]));
    });
    return options;
  }

  function fillSubgroups() {
    filters.subgroup = ALL;
    const element = document.getElementById("filter-subgroup");
    element.replaceChildren(...subgroupOptions().map(([value, words]) => make("option", { value }, words)));
  }

  function build() {
    const numbered = (names) => names.map((words, n) => [String(n), words]);
    const any = [ALL, say("all")];
    const compared = index.compared.map(([variant, control]) => name(variant) + (control ? ` (${say("control")})` : ""));
    const changes = [[FLIPS, say("change.flips")], ...numbered(CHANGES.map((key) => say(key))), [ALL, say("change.all")]];
    const search = make("input", { type: "search", id: "filter-search", autocomplete: "off", spellcheck: "false" });
    search.addEventListener("input", () => {
      filters.search = search.value;
      refresh();
    });
    const form = make("form", { class: "filters", role: "search", "aria-label": say("filters") });
    form.addEventListener("submit", (event) => event.preventDefault());
    form.append(
      chooser("bench", say("benchmark"), [any, ...numbered(index.benches.map((bench) => bench[0]))]),
      chooser("candidate", say("candidate"), [any, ...numbered(compared)]),
      chooser("change", say("change"), changes),
      chooser("subgroup", say("subgroup"), subgroupOptions()),
      chooser("status", say("status"), [any, ...numbered(STATUSES.map((key) => say(key)))]),
      make("label", { class: "search" }, say("search"), search),
    );
    counter = make("p", { class: "count", role: "status", id: "flip-count" });
    room = make("div", { class: "room", role: "presentation" });
    list = make("div", { class: "list", role: "listbox", tabindex: "0", "aria-label": say("browser"), id: "flip-list" }, room);
    list.addEventListener("scroll", () => requestAnimationFrame(draw), { passive: true });
    list.addEventListener("keydown", onKey);
    empty = make("p", { class: "empty" }, say("nothing"));
    detail = make("div", { class: "detail", role: "region", "aria-label": say("item"), id: "flip-detail" });
    panes = make("div", { class: "panes" }, make("div", {}, list, empty), detail);
    app.replaceChildren(form, counter, panes);
    const measure = () => {
      height = 4.75 * parseFloat(getComputedStyle(document.documentElement).fontSize);
      resize();
      draw();
    };
    measure();
    addEventListener("resize", measure);
    if (!index.changes.some((codes) => codes.some((code) => code < 2))) {
      filters.change = document.getElementById("filter-change").value = ALL;
    }
    refresh();
    app.dataset.ready = "true";
    setTimeout(searchableSoon);
  }

  async function start() {
    if (typeof DecompressionStream === "undefined") {
      app.textContent = say("unsupported");
      return;
    }
    prepare(await unpack("book-index"));
    build();
  }

  app.textContent = say("loading");
  requestAnimationFrame(() => setTimeout(start));
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((each) => each.setAttribute("open", "")));
})();
