// The page by itself is whole: tables, and pictures as images. This adds filters, sorting, what stands behind each cell,
// copying, and pictures that fit their place and answer to a pointer.
const data = JSON.parse(document.getElementById("data").textContent);
const FACETS = ["dataset", "model", "method", "epsilon"];
const NAMES = {rdp: "Rényi DP (RDP)", prv: "privacy random variables (PRV)", pld: "privacy loss distributions (PLD)"};
const $ = (selector, within = document) => within.querySelector(selector);
const $$ = (selector, within = document) => [...within.querySelectorAll(selector)];
// As tables lower them: what stands below the line in `K_BASE` and `DP-Mix_Self`; other underscores are part of a name.
const plainly = text => text.replace(/(\bK|Mix)_(?=[A-Za-z])/g, "$1 ");
const folded = text => text.toLowerCase().replace(/[\s_]+/g, "");

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "text") element.textContent = value;
    else if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter(child => child !== null && child !== undefined));
  return element;
}

// The address: #table3?dataset=digits&cell=table3/12 ------------------------------------------------------------------

const state = {anchor: "", q: "", cell: "", ...Object.fromEntries(FACETS.map(name => [name, ""]))};

// The anchor, and what is asked; undefined for a link within the page, which asks nothing.
function address() {
  const whole = location.hash.slice(1), at = whole.indexOf("?");
  return at < 0 ? [whole] : [whole.slice(0, at), whole.slice(at + 1)];
}

function readAddress() {
  const [anchor, query = ""] = address();
  const asked = new URLSearchParams(query);
  state.anchor = anchor;
  for (const name of [...FACETS, "q", "cell"]) state[name] = asked.get(name) ?? "";
}

function writeAddress() {
  const asked = new URLSearchParams();
  for (const name of [...FACETS, "q", "cell"]) if (state[name]) asked.set(name, state[name]);
  const query = asked.toString();
  history.replaceState(null, "", `#${state.anchor}${query ? `?${query}` : ""}`);
}

// Filters -------------------------------------------------------------------------------------------------------------

const form = $(".filters"), count = $("output", form);

const matches = (facets, reference) => FACETS.every(name =>
  !state[name] || facets?.[name] === state[name] || (reference && (name === "method" || name === "epsilon")));

const filtering = () => FACETS.some(name => state[name]);

function fillFilters() {
  for (const name of FACETS) {
    const seen = new Set();
    for (const table of Object.values(data.tables)) {
      for (const cell of table.cells) if (cell.facets?.[name] && !(cell.end && name !== "dataset")) seen.add(cell.facets[name]);
    }
    const ordered = [...seen];
    if (name === "epsilon") ordered.sort((a, b) => parseFloat(a.replace("∞", "1e9")) - parseFloat(b.replace("∞", "1e9")));
    form.elements[name].append(...ordered.map(value => make("option", {value, text: plainly(value)})));
    form.elements[name].closest("label").hidden = ordered.length < 2;
  }
}

function applyFilters() {
  let shown = 0;
  const words = folded(state.q), says = element => !words || folded(element.textContent).includes(words);
  for (const section of $$("section.table")) {
    const cells = data.tables[section.id].cells;
    const titled = says($("h2", section));
    let any = false;
    for (const line of $$("tbody tr", section)) {
      const own = titled || says(line);
      let some = false;
      for (const place of $$("td[data-cell]", line)) {
        const cell = cells[Number(place.dataset.cell)];
        const fits = own && matches(cell.facets, cell.end);
        place.classList.toggle("off", !fits);
        some ||= fits;
        if (fits && cell.values) shown += 1;
      }
      for (const place of $$("td:not([data-cell])", line)) place.classList.toggle("off", filtering());
      line.hidden = !(some || (own && !filtering() && !$("td[data-cell]", line)));
      any ||= !line.hidden;
    }
    $(".box", section).hidden = !any;
    $(".none", section).hidden = any;
    section.hidden = Boolean(words) && !any;
  }
  for (const claim of $$(".claim")) claim.hidden = !says(claim);
  const claims = document.getElementById("claims");
  if (claims) claims.hidden = !$(".claim:not([hidden])", claims);
  for (const figure of $$("section.figure")) figure.hidden = !says(figure);
  for (const entry of $$("nav [data-for]")) entry.hidden = document.getElementById(entry.dataset.for).hidden;
  const active = filtering() || Boolean(words);
  form.classList.toggle("active", active);
  count.textContent = active ? `${shown} cell${shown === 1 ? "" : "s"} shown` : "";
  for (const figure of $$("figure.chart")) draw(figure, true);
}

form.addEventListener("input", () => {
  for (const name of [...FACETS, "q"]) state[name] = form.elements[name].value;
  writeAddress();
  applyFilters();
});
form.addEventListener("submit", event => event.preventDefault());
form.addEventListener("reset", () => {
  for (const name of [...FACETS, "q"]) state[name] = "";
  writeAddress();
  setTimeout(applyFilters);
});

// Pictures ------------------------------------------------------------------------------------------------------------

const drawnAt = new WeakMap(), images = new Map(), live = new Map();
let onPaper = false;

// On paper a picture has its own width and not the window's; what filters leave is printed as it is on the screen.
function showPictures(paper) {
  onPaper = paper && !filtering();
  for (const [place, drawn] of live) place.replaceChildren(onPaper ? images.get(place) : drawn);
}
addEventListener("beforeprint", () => showPictures(true));
addEventListener("afterprint", () => showPictures(false));

function fitted(chart, width, labels) {
  const panelWidth = (most, room) => Math.max(110, Math.min(most, room - labels));
  const spec = structuredClone(chart.spec);
  const fits = row => matches(
    Object.fromEntries(FACETS.map(name => [name, row[`f_${name}`]])), row.end);
  if (chart.filtered !== false && filtering()) spec.data.values = spec.data.values.filter(fits);
  if (!spec.data.values.length) return null;
  if (spec.facet) {
    const panels = new Set(spec.data.values.map(row => row.panel)).size;
    const most = Math.max(1, Math.floor(width / (chart.panel + chart.margin)));
    spec.columns = Math.ceil(panels / Math.ceil(panels / most));  // rows of the same length
    spec.spec.width = panelWidth(380, Math.floor(width / spec.columns));
    const longest = Math.max(...spec.data.values.map(row => row.panel?.length ?? 0));
    const lines = 7.5 * longest > spec.spec.width ? {labelExpr: "split(datum.label, ', ')"} : {};
    spec.facet.header = {...lines, labelLimit: spec.spec.width};  // a longer one would make its panel wider
    spec.facet.sort = spec.facet.sort?.filter(panel => spec.data.values.some(row => row.panel === panel));
  } else if (spec.vconcat) {
    // Where labels would take more than the marks, they stand above them.
    const above = width < 420 ? {labelAlign: "left", labelPadding: -2, labelOffset: -14} : {};
    for (const part of spec.vconcat) {
      if (width < 420) part.height.step = 36;
      for (const layer of part.layer) Object.assign(layer.encoding.y.axis, above);
      part.width = width < 420 ? width - 14 : panelWidth(640, width);
    }
  } else {
    spec.width = panelWidth(620, width);
  }
  const longest = Math.max(...spec.data.values.flatMap(row => [row.curve, row.line, row.name].map(name => name?.length ?? 0)));
  const entry = Math.max(150, 7.5 * longest + 30);
  spec.config.legend.columns = Math.max(1, Math.min(spec.config.legend.columns, Math.floor(width / entry)));
  return spec;
}

async function draw(figure, again = false) {
  const place = $(".drawn", figure), chart = data.charts[figure.dataset.chart];
  if (!window.vegaEmbed || !chart || place.closest("[hidden]") || (again && !drawnAt.has(place))) return;
  const width = Math.floor(figure.clientWidth);
  const wanted = JSON.stringify([width, ...chart.filtered === false ? [] : FACETS.map(name => state[name])]);
  if (!width || drawnAt.get(place) === wanted) return;
  drawnAt.set(place, wanted);
  let spec = fitted(chart, width, chart.margin + 14);
  if (!spec) {
    if (!images.has(place)) images.set(place, $("svg", place));
    live.set(place, make("p", {class: "none", text: "Nothing in this picture is of what the filters ask."}));
    place.replaceChildren(live.get(place));
    return;
  }
  const embed = async () => {
    const made = make("div");
    const {view} = await window.vegaEmbed(made, spec, {
      actions: false, renderer: "svg", logLevel: 1,  // a filter may leave a layer empty, which is no error
    });
    return {made, view};
  };
  let {made, view} = await embed();
  // How much labels take is known once they are drawn; panels get what is left.
  const over = width - Number($("svg", made).getAttribute("width")), columns = spec.columns ?? 1;
  if (over > 8) {
    view.finalize();
    spec = fitted(chart, width, chart.margin + 14 - Math.floor(over / columns));
    ({made, view} = await embed());
  }
  if (drawnAt.get(place) !== wanted) return;
  for (const part of $$("[role]", made)) part.removeAttribute("role");  // the whole has a role and a label
  $("svg", made).classList.add("live");
  $("svg", made).setAttribute("aria-hidden", "true");
  if (!images.has(place)) images.set(place, $("svg", place));
  live.set(place, made);
  if (!onPaper) place.replaceChildren(made);
  view.addEventListener("click", (event, item) => {
    if (item?.datum?.opens) openCell(item.datum.opens, true);
    else if (item?.datum?.link) location.hash = item.datum.link;
  });
}

// The page can be used without the library that draws, which is read once all else is at rest: until then pictures are
// images.
function readVega() {
  const read = `${document.getElementById("vega").textContent}\ndispatchEvent(new Event("vega"));`;
  document.head.append(make("script", {type: "module", text: read}));
}
addEventListener("vega", drawPictures);

function drawPictures() {
  const seen = new IntersectionObserver(entries => {
    for (const entry of entries) if (entry.isIntersecting) draw(entry.target);
  }, {rootMargin: "300px"});
  let waiting = 0;
  const resized = new ResizeObserver(entries => {
    clearTimeout(waiting);
    waiting = setTimeout(() => entries.forEach(entry => draw(entry.target, true)), 120);
  });
  for (const figure of $$("figure.chart")) {
    seen.observe(figure);
    resized.observe(figure);
  }
}

// Sorting: up, down, and back to the paper's order ------------------------------------------------------------------------

for (const table of $$("table.sortable")) {
  const body = table.tBodies[0], original = [...body.rows], keys = $$("th.key", table).length;
  const heads = [...$$("th.key", table), ...$$("th.leaf", table)];
  // Numbers come before words, and words before nothing, whichever way.
  const value = (row, at) => {
    const cell = row.cells[at], text = at < keys ? cell.textContent.trim().replace(/^\S+ = /, "") : cell.dataset.value;
    const number = /^(∞|inf)$/.test(text) ? Infinity : /\d/.test(text) ? Number(text.replace("−", "-")) : NaN;
    return !Number.isNaN(number) ? number : at < keys ? cell.textContent : null;
  };
  const rank = one => one === null ? 2 : typeof one === "string" ? 1 : 0;
  heads.forEach((head, at) => {
    const button = make("button", {type: "button", class: "sort"}, ...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const next = {none: "ascending", ascending: "descending", descending: "none"}[head.getAttribute("aria-sort") ?? "none"];
      heads.forEach(other => other.removeAttribute("aria-sort"));
      let rows = original;
      if (next !== "none") {
        head.setAttribute("aria-sort", next);
        const sign = next === "ascending" ? 1 : -1;
        rows = [...original].sort((a, b) => {
          const x = value(a, at), y = value(b, at);
          if (rank(x) !== rank(y) || x === null) return rank(x) - rank(y);
          return sign * (typeof x === "number" ? (x > y) - (x < y) : x.localeCompare(y, "en", {numeric: true}));
        });
      }
      table.classList.toggle("sorted", next !== "none");
      body.append(...rows);
    });
  });
}

// Copying -------------------------------------------------------------------------------------------------------------

const copied = new WeakMap();  // what is said on a button for a while, until when

async function copy(button, text) {
  let done = true;
  try {
    await navigator.clipboard.writeText(text);
  } catch {  // a page that was opened as a file may not have the clipboard
    const area = make("textarea", {"aria-hidden": "true"});
    area.value = text;
    (button.closest("dialog") ?? document.body).append(area);
    area.select();
    done = document.execCommand("copy");
    area.remove();
    button.focus();
  }
  const before = copied.get(button)?.before ?? button.textContent, said = done ? "Copied" : "Not copied";
  const status = $("[role=status]", button.closest("dialog") ?? document.body);
  clearTimeout(copied.get(button)?.timer);
  button.textContent = status.textContent = said;
  copied.set(button, {before, timer: setTimeout(() => {
    button.textContent = before;
    status.textContent = "";
    copied.delete(button);
  }, 1500)});
}

document.addEventListener("click", event => {
  const button = event.target.closest("button.copy");
  if (!button) return;
  const {table, kind} = button.dataset;
  copy(button, table ? data.tables[table].copy[kind] : button.dataset.copy);
});

// What stands behind a cell -----------------------------------------------------------------------------------------------

const dialog = document.getElementById("cell"), inside = $(".inside", dialog);
const digits = value => typeof value === "number" ? Number(value.toPrecision(6)).toString().replace("-", "−") : value === "inf" ? "∞" : "–";
const fixed = (value, places = 2) => typeof value === "number" ? value.toFixed(places).replace("-", "−") : digits(value);
const signed = (value, places = 2) => (value > 0 ? "+" : "") + fixed(value, places);
// A value as its table has it: seconds of a time, and an ε never below what was spent.
const told = (value, {unit}) => typeof value !== "number" ? digits(value)
  : unit === data.units.minutes ? `${fixed(60 * value, 1)} s` : unit === data.units.epsilon ? up(value) : fixed(value);
const up = value => typeof value === "number" ? (Math.ceil(value * 1e4 - 1e-9) / 1e4).toString() : digits(value);
const once = values => [...new Set(values.filter(value => value !== undefined && value !== null && value !== ""))];
const range = values => {
  const seen = once(values);
  return seen.length ? seen.join(", ") : null;
};

function facts(entries) {
  const list = make("dl");
  for (const [name, value] of entries) {
    if (value === null || value === undefined || value === "") continue;
    const held = make("dd");
    held.append(value instanceof Node ? value : String(value));
    list.append(make("dt", {text: name}), held);
  }
  return list.children.length ? list : null;
}

function commandOf(text) {
  return make("span", {class: "command"}, make("code", {text}),
    make("button", {type: "button", class: "copy", "data-copy": text, text: "Copy", "aria-label": "Copy the command for this cell"}));
}

// Seeds as points under their mean and interval.
function strip(cell, table) {
  const values = cell.values.filter(value => typeof value === "number");
  if (values.length < 2 || typeof cell.center !== "number") return null;
  const [low, high] = cell.interval ?? [Math.min(...values), Math.max(...values)];
  const from = Math.min(low, ...values), to = Math.max(high, ...values), span = to - from || 1;
  const wide = Math.min(480, innerWidth - 80);  // so that its words are not shrunk
  const x = value => 16 + (value - from) / span * (wide - 32);
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const words = `Seeds ${values.map(value => told(value, table)).join(", ")}; ${cell.statistic ?? "mean"} ${told(cell.center, table)}; 95 % interval ${told(low, table)} to ${told(high, table)}`;
  svg.setAttribute("viewBox", `0 0 ${wide} 64`);
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", words);
  svg.setAttribute("class", "strip");
  const part = (tag, attributes, text = "") => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.textContent = text;
    svg.append(element);
  };
  part("line", {x1: x(low), x2: x(high), y1: 24, y2: 24, stroke: "var(--soft)", "stroke-width": 2});
  for (const end of [low, high]) part("line", {x1: x(end), x2: x(end), y1: 18, y2: 30, stroke: "var(--soft)", "stroke-width": 2});
  part("line", {x1: x(cell.center), x2: x(cell.center), y1: 12, y2: 36, stroke: "var(--ink)", "stroke-width": 3});
  for (const value of values) part("circle", {cx: x(value), cy: 24, r: 5, fill: "var(--c1)", "fill-opacity": .75});
  part("text", {x: x(from), y: 56, "font-size": 13, fill: "var(--soft)"}, told(from, table));
  part("text", {x: x(to), y: 56, "font-size": 13, fill: "var(--soft)", "text-anchor": "end"}, told(to, table));
  return svg;
}

function difference(found, table) {
  if (!found) return null;
  const times = table.unit === data.units.minutes, shown = value => times ? `${signed(60 * value, 1)} s` : signed(value);
  const ends = found.low === undefined ? (found.seeds > 1 ? "" : " (one seed)")
    : ` (95 % interval ${shown(found.low)} to ${shown(found.high)}, ${found.seeds} seeds)`;
  return `${shown(found.estimate)}${ends}`;
}

function seedsTable(cell, runs, table) {
  if (!runs.some(run => run.seed !== undefined)) return null;
  const made = make("table", {}, make("caption", {class: "spoken", text: "The runs of this cell, one for each seed"}));
  const columns = [
    ["seed", run => run.seed], [table.unit.replace(data.units.minutes, "running time"), (run, value) => told(value, table)],
    ...once(runs.flatMap(run => Object.keys(run.epsilon ?? {}))).sort().map(name => [`ε (${name.toUpperCase()})`, run => up(run.epsilon?.[name])]),
    ["learning rate", run => digits(data.shared.rates[run.rate]?.value)],
    ["steps", run => run.steps ? run.steps.join(" of ") : "–"],
    ["clipped", run => typeof run.clipped === "number" ? `${fixed(100 * run.clipped, 0)} %` : "–"],
    ["time", run => typeof run.seconds === "number" ? `${fixed(run.seconds, 1)} s` : "–"],
    ["state", run => run.state ?? "done"],
  ];
  made.append(make("thead", {}, make("tr", {}, ...columns.map(([name]) => make("th", {scope: "col", text: name})))));
  let next = 0;
  const body = make("tbody");
  for (const run of runs) {
    const value = run.state ? undefined : cell.values?.[next++];
    body.append(make("tr", {}, ...columns.map(([, read], at) => make(at ? "td" : "th", at ? {text: read(run, value)} : {scope: "row", text: read(run, value)}))));
  }
  made.append(body);
  return make("div", {class: "scroll", tabindex: "0", role: "region", "aria-label": "Runs"}, made);
}

function fill(name, place) {
  const table = data.tables[name], cell = table.cells[place];
  const runs = (cell.runs ?? []).map(at => data.runs[at]), first = runs.find(run => !run.state) ?? runs[0] ?? {};
  const rate = data.shared.rates[first.rate];
  const part = (title, ...content) => {
    const held = content.filter(Boolean);
    return held.length ? [make("h3", {text: title}), ...held] : [];
  };
  const ends = cell.interval ? `, 95 % interval${cell.statistic ? " of the mean" : ""} ${told(cell.interval[0], table)} to ${told(cell.interval[1], table)}` : "";
  const failed = runs.filter(run => run.state === "failed");
  const rateWords = rate && `${digits(rate.value)}${rate.low === undefined ? "" : `, chosen among ${digits(rate.low)} to ${digits(rate.high)}`}` +
    (rate.end ? `, at the ${rate.end} end of its grid: a better one may lie beyond` : rate.low === undefined ? "" : ", not at an end of its grid");
  const close = make("button", {type: "button", text: "Close"});
  close.addEventListener("click", () => dialog.close());
  const inputs = once(runs.flatMap(run => run.inputs ?? [])).map(at => data.shared.inputs[at]);
  inside.replaceChildren(...[
    make("header", {}, make("h2", {id: "cell-title", text: `${table.heading.split(":")[0]}: ${plainly(cell.at.filter(Boolean).join(", "))}`}), close),
    make("p", {class: "big", text: cell.values ? `${cell.text}` : cell.text || "–"}),
    cell.values ? make("p", {text: `${table.unit.replace(data.units.minutes, "running time")}${cell.values.length > 1 ? `, ${cell.statistic ?? "mean"} of ${cell.values.length} seeds` : first.seed === undefined ? "" : ", one seed"}${ends}.`}) : null,
    cell.values ? strip(cell, table) : null,
    cell.note ? make("p", {text: `${cell.note}.`}) : null,
    ...failed.map(run => make("p", {class: "contradicted", text: `Failed: ${run.why || "no message"}${run.log ? `, in ${run.log}` : ""}`})),
    ...part("Compared", facts([
      [cell.above ? `over ${plainly(cell.above.label) || "the row"}, the row above, seed by seed` : "", difference(cell.above, table)],
      ["the paper prints", cell.paper], ["over the paper", difference(cell.toPaper, table)],
      [data.against ? `in ${data.against}` : "", cell.other ? `${cell.other.text}${cell.other.verdict ? ` (${cell.other.verdict})` : ""}` : null],
    ])),
    ...part("Privacy", cell.privacy === undefined ? null : make("p", {text: data.shared.privacy[cell.privacy]}),
      facts(Object.entries(first.epsilon ?? {}).map(([by]) => [`ε executed, ${NAMES[by] ?? by}`, range(runs.map(run => up(run.epsilon?.[by])))]))),
    ...part("Training", facts([
      ["learning rate", rateWords], ["chosen in", rate?.source],
      ["views of each example", first.views && `${first.views[0]} plain, ${first.views[1]} mixed, ${first.views[2]} synthetic (K_BASE, K_SELF, K_DIFF)`],
      ["batch size, epochs", first.batch && `${first.batch} expected, ${first.epochs}`],
      ["steps executed", range(runs.map(run => run.steps?.[0]))],
      ["time", range(runs.map(run => typeof run.seconds === "number" ? `${fixed(run.seconds, 1)} s` : ""))],
      ["finished", range(runs.map(run => run.finished?.slice(0, 16)))],
    ])),
    ...part("Runs", seedsTable(cell, runs, table)),
    ...part(runs.some(run => run.state) || !runs.length ? "Make this cell alone" : "Make this cell alone again", commandOf(cell.again.map(word => typeof word === "number" ? data.runs[word].path : word).join(" "))),
    ...part("Made on", facts([
      ["hardware", range(runs.map(run => data.shared.hardware[run.hardware]))],
      ["execution", range(runs.map(run => run.execution === undefined ? "" : Object.entries(data.shared.execution[run.execution]).map(([name, value]) => `${name.replaceAll("_", " ")} ${value}`).join(", ")))],
      ["versions", range(runs.map(run => run.versions === undefined ? "" : Object.entries(data.shared.versions[run.versions]).map(([name, value]) => `${name} ${value}`).join(", ")))],
    ])),
    ...part("Files", runs.length ? make("ul", {}, ...runs.map(run => make("li", {text: run.path}))) : null,
      inputs.length ? make("details", {}, make("summary", {text: `Made from, with digests: ${inputs.length} file${inputs.length > 1 ? "s" : ""}`}),
        make("ul", {}, ...inputs.map(([path, digest]) => make("li", {text: `${path}: ${digest}`})))) : null),
  ].filter(Boolean));
}

// Whoever clicked on a picture stays where they were; else the focus goes to the cell, wherever it was opened from.
let byPicture = false;

function openCell(key, picture = false) {
  const at = key.lastIndexOf("/"), name = key.slice(0, at), place = Number(key.slice(at + 1));
  const there = Object.hasOwn(data.tables, name) && Number.isInteger(place) && data.tables[name].cells[place];
  state.cell = there ? key : "";
  writeAddress();
  if (!there) return;
  fill(name, place);
  byPicture = picture;
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
}

dialog.addEventListener("close", () => {
  const [name, place] = state.cell.split("/");
  state.cell = "";
  writeAddress();
  const section = name ? document.getElementById(name) : null;
  const cell = section ? $(`td[data-cell="${place}"] button.open`, section) : null;
  const seen = cell?.checkVisibility({visibilityProperty: true}) ? cell : section ? $(".box", section) : null;
  seen?.focus({preventScroll: byPicture});
});

// A press that began inside, such as one that selects text, does not close it.
let pressed = null;
dialog.addEventListener("pointerdown", event => { pressed = event.target; });
dialog.addEventListener("click", event => {
  if (event.target === dialog && pressed === dialog) dialog.close();
});

for (const section of $$("section.table")) {
  const {cells} = data.tables[section.id];
  for (const place of $$("td[data-cell]", section)) {
    const cell = cells[Number(place.dataset.cell)];
    if (!cell.runs && !cell.values) continue;
    const text = $("span", place);
    text.replaceChildren(make("button", {type: "button", class: "open", "aria-haspopup": "dialog"}, ...text.childNodes));
  }
  section.addEventListener("click", event => {
    const button = event.target.closest("button.open");
    if (button) openCell(`${section.id}/${button.closest("td").dataset.cell}`);
  });
}

// Where a link leads stays in sight while pictures above it find their size, until the reader moves or all is at rest.
let led = null, rest = 0;

function lead(element = state.anchor ? document.getElementById(state.anchor) : null) {
  led = element;
  led?.scrollIntoView();
  clearTimeout(rest);
  if (window.vegaEmbed) rest = setTimeout(() => { led = null; }, 2000);
}

new ResizeObserver(() => led?.scrollIntoView()).observe($("main"));
addEventListener("vega", () => lead(led));
for (const moves of ["wheel", "touchmove", "pointerdown", "keydown"]) {
  addEventListener(moves, () => { led = null; }, {capture: true, passive: true});
}

// Start ---------------------------------------------------------------------------------------------------------------

function follow() {
  for (const name of [...FACETS, "q"]) form.elements[name].value = state[name];
  for (const name of FACETS) state[name] = form.elements[name].value;  // one that is not there asks for nothing
  applyFilters();
  lead();
  if (state.cell) openCell(state.cell);
  else if (dialog.open) dialog.close();
}

addEventListener("hashchange", () => {
  const [anchor, query] = address();
  if (query === undefined) {  // a link within the page keeps what is filtered
    state.anchor = anchor;
    writeAddress();
    lead();
  } else {
    readAddress();
    follow();
  }
});

// A narrow window has the contents, folded, below the title.
const narrow = matchMedia("(max-width: 60rem)"), contents = $("nav");
function placeContents() {
  $("details", contents).open = !narrow.matches;
  if (narrow.matches) $("header.first .lead").after(contents);
  else $(".frame").prepend(contents);
}
narrow.addEventListener("change", placeContents);
placeContents();

fillFilters();
readAddress();
document.documentElement.dataset.ready = "";
follow();
const atRest = window.requestIdleCallback ?? setTimeout;  // Safari has no idle callbacks
addEventListener("load", () => atRest(readVega));
