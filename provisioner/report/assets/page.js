"use strict";
(() => {
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const number = (value) => typeof value === "number" ? value.toLocaleString("en-US", { maximumFractionDigits: 2 }) : value;
const pad = (value) => String(value).padStart(2, "0");
const clock = (seconds) => new Date(seconds * 1000).toISOString().slice(11, 19);
const moment = (seconds) => new Date(seconds * 1000).toISOString().replace("T", " ").slice(0, 19);
const lasting = (seconds) => seconds < 60 ? `${seconds.toFixed(1)} s`
  : `${Math.floor(seconds / 60)} min ${pad(Math.round(seconds % 60))} s`;

/* Texts are always texts: nothing here makes HTML of a string. */
function make(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === false) continue;
    if (name === "class") node.className = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name.startsWith("--")) node.style.setProperty(name, value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined).map((child) => child instanceof Node ? child : String(child)));
  return node;
}
const colour = (name) => `var(--o-${name})`;
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/* A table of any number of rows, of which only those in sight exist. */
const ROW = 32, BEYOND = 12, PRINTED = 300;
const grids = [];
class Grid {
  constructor(host, label, columns, count) {
    Object.assign(this, { columns, all: count, rows: [], shown: new Map(), sorted: null, printing: false });
    this.heads = columns.map((column) => this.head(column));
    this.above = make("td");
    this.below = make("td");
    this.body = make("tbody", {}, make("tr", { class: "spacer", "aria-hidden": "true" }, this.above),
      make("tr", { class: "spacer", "aria-hidden": "true" }, this.below));
    this.table = make("table", {}, make("thead", {}, make("tr", { "aria-rowindex": 1 }, ...this.heads)), this.body);
    this.scroller = make("div", { class: "grid", tabindex: 0, role: "group", "aria-label": label }, this.table);
    this.none = make("p", { class: "empty", hidden: true }, "Nothing matches.");
    this.cut = make("p", { class: "note", hidden: true });
    host.append(this.scroller, this.none, this.cut);
    let asked = false;
    this.scroller.addEventListener("scroll", () => {
      if (asked) return;
      asked = true;
      requestAnimationFrame(() => { asked = false; this.paint(); });
    }, { passive: true });
    new ResizeObserver(() => this.paint()).observe(this.scroller);
    grids.push(this);
  }
  head(column) {
    const head = make("th", { scope: "col", class: column.class },
      make("button", { type: "button", onclick: () => this.sortBy(column) }, column.title));
    if (column.width) head.style.width = column.width;
    return head;
  }
  sortBy(column) {
    const down = this.sorted?.column === column ? !this.sorted.down : Boolean(column.downFirst);
    this.sorted = { column, down };
    this.columns.forEach((one, place) => {
      const mark = one !== column ? "" : down ? " \u25be" : " \u25b4";
      this.heads[place].firstChild.textContent = one.title + mark;
      if (one === column) this.heads[place].setAttribute("aria-sort", down ? "descending" : "ascending");
      else this.heads[place].removeAttribute("aria-sort");
    });
    this.show(this.rows);
  }
  show(rows) {
    this.rows = rows;
    if (this.sorted) {
      const { column, down } = this.sorted, keys = column.keys(), sign = down ? -1 : 1;
      this.rows = Int32Array.from(rows).sort((one, other) =>
        (keys[one] < keys[other] ? -sign : keys[one] > keys[other] ? sign : one - other));
    }
    this.table.setAttribute("aria-rowcount", this.rows.length + 1);
    this.none.hidden = this.rows.length > 0;
    this.scroller.hidden = this.rows.length === 0;
    for (const row of this.shown.values()) row.remove();
    this.shown.clear();
    this.scroller.scrollTop = 0;
    this.paint();
  }
  paint() {
    const total = this.rows.length, height = this.scroller.clientHeight || 560;
    let first = Math.max(0, Math.floor(this.scroller.scrollTop / ROW) - BEYOND);
    let last = Math.min(total, first + Math.ceil(height / ROW) + 2 * BEYOND);
    if (this.printing) [first, last] = [0, Math.min(total, PRINTED)];
    for (const [place, row] of this.shown) {
      if (place >= first && place < last) continue;
      if (row.contains(document.activeElement)) this.scroller.focus({ preventScroll: true });
      row.remove();
      this.shown.delete(place);
    }
    let after = this.body.lastChild;
    for (let place = last - 1; place >= first; place--) {
      let row = this.shown.get(place);
      if (!row) {
        row = make("tr", { "aria-rowindex": place + 2 });
        this.columns.forEach((column, at) => {
          const cell = make(at ? "td" : "th", { class: column.class, scope: at ? undefined : "row" });
          const content = column.cell(this.rows[place], cell);
          if (content instanceof Node) cell.append(content);
          else cell.textContent = content;
          if (!column.number) cell.title = cell.textContent;
          row.append(cell);
        });
        this.shown.set(place, row);
        this.body.insertBefore(row, after);
      }
      after = row;
    }
    this.cut.hidden = !this.printing || total <= PRINTED;
    this.cut.textContent = `The first ${number(PRINTED)} of ${number(total)} rows.`;
    this.above.style.height = `${first * ROW}px`;
    this.below.style.height = this.printing ? "0" : `${(total - last) * ROW}px`;
  }
  reveal(place) {
    this.scroller.scrollTop = place * ROW;
    this.paint();
  }
}

function details(title, pairs, ...actions) {
  const dialog = $("details");
  $("details-title").textContent = title;
  dialog.querySelector("dl").replaceChildren(...pairs.filter(([, value]) => value !== "" && value !== null && value !== undefined)
    .flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
  dialog.querySelector("form").replaceChildren(...actions, make("button", { type: "submit" }, "Close"));
  dialog.showModal();
}

function head() {
  const status = $("status");
  status.textContent = data.status.text;
  status.classList.add(data.status.tone);
  $("remarks").append(...data.remarks.map((remark) => make("li", {}, remark)));
  $("facts").append(...data.facts.filter(([, value]) => value)
    .map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))));
  $("tiles").append(...data.tiles.map((tile) => make("li", {}, make("span", { class: "label" }, tile.label),
    make("span", { class: `value ${tile.value === 0 ? "quiet" : tile.tone}` }, number(tile.value)),
    tile.note ? make("span", { class: "note" }, tile.note) : null)));
  const columns = data.columns.filter((column) => column.sum), sum = columns.reduce((all, one) => all + one.sum, 0);
  $("outcomes-title").textContent = data.counted[0].toUpperCase() + data.counted.slice(1);
  $("bar").append(...columns.map((column) => {
    const part = make("div", { "--c": colour(column.name) });
    part.style.flexGrow = column.sum;
    return part;
  }));
  $("legend").append(...columns.map((column) => make("li", {}, make("span", { class: "swatch", "--c": colour(column.name) }),
    `${number(column.sum)} ${column.name} (${number(Number((100 * column.sum / sum).toPrecision(3)))} %)`)));
  $("outcomes").hidden = !sum;
  $("footer").textContent = `Made by provisioner ${data.version} at ${data.made_at}. `
    + "This page is one file: it loads nothing and sends nothing.";
}

function causes() {
  $("causes").hidden = !data.causes.length;
  $("causes").querySelector("tbody").append(...data.causes.map((cause) => make("tr", {},
    make("td", { class: "number" }, number(cause.count)), make("td", {}, make("code", {}, cause.code)),
    make("td", {}, cause.message), make("td", {}, cause.examples.join(", ")), make("td", {}, make("code", {}, cause.listed_by)))));
}

function runs() {
  if (!data.runs?.length) return;
  $("runs").hidden = false;
  $("runs").querySelector("tbody").append(...data.runs.map((run) => make("tr", {}, make("td", { class: "mono" }, run.run_id),
    make("td", {}, run.began), make("td", {}, run.command), make("td", { class: "number" }, run.elapsed),
    make("td", { class: run.tone }, run.end), make("td", {}, run.did))));
}

/* Over time. */
const CHARTS = [
  ["Creates per second", "/s", [["created", "created"], ["pace", "pace"], ["limit", "learned limit"], ["changed", "tag changes, deletions"]]],
  ["Throttled, refused and unanswered calls", "", [["throttled", "throttled"], ["refused", "refused"], ["unanswered", "unanswered"]]],
  ["Latency", "ms", [["p50", "median"], ["p90", "p90"], ["p99", "p99"]]],
  ["Creates in flight", "", [["in_flight", "in flight"]]],
];
const HIGH = 190;
let plots = [];

const STACKED = ["throttled", "refused", "unanswered"];

function line(name, label, unit, values) {
  const stroke = css(`--s-${name}`);
  const text = (_, __, ___, at) => values[at] === null || values[at] === undefined ? "\u2013" : `${number(values[at])} ${unit}`.trim();
  const one = { label, stroke, width: 1.5, value: text };
  if (STACKED.includes(name)) return { ...one, width: 0, fill: stroke, paths: uPlot.paths.bars({ size: [0.9, 60], align: 1 }), points: { show: false } };
  if (name === "pace") return { ...one, dash: [6, 4], spanGaps: true, points: { show: false } };
  if (name === "limit") return { ...one, dash: [2, 3], spanGaps: true, points: { show: false } };
  if (name === "created" || name === "in_flight") {
    return { ...one, fill: `color-mix(in srgb, ${stroke} 16%, transparent)`, paths: uPlot.paths.stepped({ align: 1 }), points: { show: false } };
  }
  return { ...one, spanGaps: true, points: { show: values.length < 60 } };
}

function charts(name) {
  const series = data.series[name], host = $("charts");
  for (const plot of plots) plot.destroy();
  plots = [];
  const steps = series.in_flight.length;
  const times = Array.from({ length: steps + 1 }, (_, at) => data.began + at * series.width);
  host.replaceChildren(...CHARTS.flatMap(([title, unit, all]) => {
    const shown = all.filter(([column]) => series[column].some((value) => value));
    if (!shown.length) return [];
    const per = STACKED.includes(all[0][0]) ? `, in each ${number(series.width)} s` : unit === "ms" ? ", ms" : "";
    const box = make("div", { class: "chart" }, make("h3", {}, title, make("span", { class: "note" }, per)));
    /* Stacked: each lies before the sum of those that come first. */
    const drawn = shown.map(([column]) => [...series[column], series[column][steps - 1]]);
    if (STACKED.includes(all[0][0])) for (let at = 1; at < drawn.length; at++) drawn[at] = drawn[at].map((value, step) => value + drawn[at - 1][step]);
    const lines = shown.map(([column, label]) => line(column, label, unit, series[column]));
    if (STACKED.includes(all[0][0])) { drawn.reverse(); lines.reverse(); }
    const most = shown.map(([column, label]) => `${label} up to ${number(Math.max(...series[column]))}`);
    const inner = make("div", { role: "img", "aria-label": `${title} over time: ${most.join(", ")}. The table below has every figure.` });
    box.append(inner);
    queueMicrotask(() => {
      const axis = { stroke: css("--soft"), grid: { stroke: css("--line"), width: 1 }, ticks: { stroke: css("--line"), width: 1 } };
      plots.push(new uPlot({
        width: box.clientWidth - 20, height: HIGH,
        tzDate: (at) => uPlot.tzDate(new Date(at * 1000), "Etc/UTC"),
        cursor: { sync: { key: "time" } },
        scales: { x: { time: true }, y: { range: (_, low, high) => [0, high > 0 ? high * 1.08 : 1] } },
        axes: [{ ...axis, values: (_, moments, __, ___, apart) => moments.map((at) => apart < 60 ? clock(at) : clock(at).slice(0, 5)) }, { ...axis, size: 56, values: (_, values) => values.map(number) }],
        series: [{ value: (_, at) => at === null || at === undefined ? "\u2013" : `${moment(at)}` }, ...lines],
      }, [times, ...drawn], inner));
    });
    return [box];
  }));
  table(series, times);
}

function table(series, times) {
  const details = $("numbers"), host = details.querySelector("div");
  host.replaceChildren();
  const fill = () => {
    if (!details.open || host.firstChild) return;
    const columns = CHARTS.flatMap(([, unit, all]) => all.filter(([column]) => series[column].some((value) => value))
      .map(([column, label]) => [column, unit ? `${label}, ${unit}` : label]));
    host.append(make("table", {}, make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "Time (UTC)"),
      ...columns.map(([, label]) => make("th", { scope: "col", class: "number" }, label)))),
    make("tbody", {}, ...series.in_flight.map((_, at) => make("tr", {}, make("th", { scope: "row" }, moment(times[at])),
      ...columns.map(([column]) => make("td", { class: "number" }, number(series[column][at] ?? "\u2013"))))))));
  };
  details.ontoggle = fill;
  fill();
}

function resize() {
  for (const plot of plots) plot.setSize({ width: Math.max(200, plot.root.closest(".chart").clientWidth - 20), height: HIGH });
}

function overTime() {
  const names = Object.keys(data.series);
  if (!names.length) return;
  $("time").hidden = false;
  const select = $("series");
  select.append(...names.map((name) => make("option", { value: name }, name || (data.targets.length > 1 ? "all targets" : data.targets[0]?.name || "all"))));
  select.closest("label").hidden = names.length < 2;
  select.addEventListener("change", () => charts(select.value));
  const again = () => charts(select.value);
  again();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  let width = innerWidth;
  addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; resize(); strip?.paint(); } });
}

const KINDS = { halt: "--o-failed", outage: "--o-parked", drain: "--o-updated", wait: "--o-unchanged", sweep: "--o-recovered" };
function incidents() {
  if (!data.incidents.length) return;
  $("incidents").hidden = false;
  const all = Math.max(data.elapsed, ...data.incidents.map((one) => one.until_s ?? one.at_s), 0.001);
  const percent = (seconds) => `${(100 * Math.min(1, seconds / all)).toFixed(3)}%`;
  for (const [kind, hue] of Object.entries(KINDS)) {
    const some = data.incidents.filter((one) => one.kind === kind);
    if (!some.length) continue;
    $("lanes").append(make("div", { class: "lane" }, make("span", {}, kind), make("div", { class: "track" }, ...some.map((one) => {
      const mark = make("div", { class: "mark", "--c": `var(${hue})`, title: `${one.target ? `${one.target}: ` : ""}${one.text}` });
      const until = one.until_s ?? (kind === "outage" || kind === "wait" || kind === "drain" ? all : one.at_s);
      mark.style.left = `min(${percent(one.at_s)}, calc(100% - 4px))`;
      mark.style.width = percent(until - one.at_s);
      return mark;
    }))));
  }
  $("lanes").append(make("div", { class: "ends" }, make("span", {}, `${clock(data.began)} UTC`), make("span", {}, clock(data.began + all))));
  /* What many targets meet alike is one line; of numbers, those that differ are left out. */
  const shared = (texts) => {
    const split = texts.map((text) => text.split(/(\d+)/));
    return split[0].map((part, at) => split.every((each) => each[at] === part) ? part : "\u2026").join("");
  };
  const alike = new Map();
  for (const one of data.incidents) {
    const key = `${one.kind} ${one.text.replace(/\d+/g, "n")}`;
    if (!alike.has(key)) alike.set(key, []);
    alike.get(key).push(one);
  }
  $("incident-list").append(...[...alike.values()].map((some) => {
    const [one] = some, names = [...new Set(some.map((each) => each.target))], many = names.length > 1;
    const long = Math.max(...some.map((each) => (each.until_s ?? each.at_s) - each.at_s));
    const times = some.length > names.length ? `, ${number(some.length)} times` : "";
    return make("li", {}, make("span", {}, clock(data.began + one.at_s)), make("span", { class: { halt: "bad", outage: "warn" }[one.kind] }, one.kind),
      make("span", { title: many ? names.slice(0, 40).join(", ") : undefined }, make("b", {}, `${many ? `${number(names.length)} targets` : one.target}${times} `),
        shared(some.map((each) => each.text)),
        long ? make("span", { class: "note" }, ` (${some.length > 1 ? "up to " : ""}${lasting(long)})`) : null));
  }));
  const left = data.incidents_total - data.incidents.length;
  if (left > 0) $("incident-list").append(make("li", {}, "", "", `and ${number(left)} more, which the log has`));
}

/* Targets: the heat map. */
let strip = null;
const sumOf = (target) => Object.values(target.counts).reduce((all, one) => all + one, 0);
function weight(target) {
  const of = (tone) => data.columns.reduce((all, column) => all + (column.tone === tone ? target.counts[column.name] || 0 : 0), 0);
  return [target.halted ? 1 : 0, of("bad"), of("warn")];
}
function showTarget(target) {
  const go = data.series[target.name] ? make("button", { onclick: () => { $("series").value = target.name; charts(target.name); $("time").scrollIntoView(); } }, "Its charts") : null;
  const list = make("button", { onclick: () => { rows.only(target.name); $("table").scrollIntoView(); } }, "Its entries");
  details(target.name, [["place", target.place], ["halted", target.halted],
    ...data.columns.map((column) => [column.name, target.counts[column.name] ? number(target.counts[column.name]) : ""]),
    ["creates", target.calls ? number(target.calls) : ""], ["throttled", target.throttled ? number(target.throttled) : ""],
    ["pace", target.pace ? `${number(target.pace)}/s` : ""],
    ["latency", target.p50 ? `median ${target.p50} ms, p99 ${target.p99} ms` : ""],
    ["more", make("code", {}, `provisioner list --target '${target.name}'`)]], list, ...(go ? [go] : []));
}
function fleet() {
  const targets = data.targets, count = targets.length;
  $("fleet").hidden = !count;
  if (!count) return;
  $("fleet-title").textContent = count === 1 ? "Target" : `${number(count)} targets, ${data.counted}`;
  const weights = targets.map(weight), sums = targets.map(sumOf);
  const order = Int32Array.from(targets.keys()).sort((one, other) => {
    for (let at = 0; at < 3; at++) if (weights[one][at] !== weights[other][at]) return weights[other][at] - weights[one][at];
    return targets[one].name < targets[other].name ? -1 : 1;
  });
  const some = (key) => targets.some((target) => target[key]);
  const plain = (key, title, more = {}) => ({ title, class: "number wide", number: true, width: "84px", downFirst: true, keys: () => targets.map((one) => one[key] || 0),
    cell: (at) => targets[at][key] ? number(targets[at][key]) : "", ...more });
  const columns = [
    { title: "Target", keys: () => targets.map((one) => one.name), cell: (at) => make("button", { type: "button", class: "link", onclick: () => showTarget(targets[at]) }, targets[at].name) },
    ...(some("place") ? [{ title: "Account, Region", class: "wide", width: "230px", keys: () => targets.map((one) => one.place), cell: (at) => targets[at].place }] : []),
    ...data.columns.map((column) => ({
      title: column.name, class: `number heat${column.tone === "quiet" || column.tone === "good" ? " wide" : ""}`, number: true, width: "92px", downFirst: true,
      keys: () => targets.map((one) => one.counts[column.name] || 0),
      cell: (at, cell) => {
        const here = targets[at].counts[column.name] || 0;
        if (!here) return "";
        cell.style.setProperty("--c", colour(column.name));
        cell.style.setProperty("--heat", `${(14 + 46 * Math.sqrt(here / sums[at])).toFixed(0)}%`);
        return number(here);
      },
    })),
    ...(some("throttled") ? [plain("throttled", "throttled")] : []),
    ...(some("pace") ? [plain("pace", data.kind === "run" ? "pace, /s" : "limit, /s")] : []),
    ...(some("p50") ? [plain("p50", "p50, ms"), plain("p99", "p99, ms")] : []),
    ...(some("halted") ? [{ title: "Halted because", class: "wide", width: "220px", keys: () => targets.map((one) => one.halted), cell: (at) => targets[at].halted }] : []),
  ];
  const grid = new Grid($("targets"), "Targets", columns, count);
  grid.scroller.classList.add("low");
  grid.show(order);
  if (count > 12) strip = new Strip(order, sums);
}

/* A column for each target, in the order of the table: a thousand at a glance. */
class Strip {
  constructor(order, sums) {
    Object.assign(this, { order, sums, rows: data.columns });
    this.canvas = make("canvas", { role: "img", "aria-label": `Heat map of ${order.length} targets; the table below has every figure` });
    this.note = make("p", { class: "note" }, "Each column is a target, those with trouble first. Point at one, or click it.");
    const names = make("div", { class: "strip-names", "aria-hidden": "true" }, ...this.rows.map((row) => make("span", {}, row.name)));
    $("strip").append(make("div", { class: "strip-row" }, names, this.canvas), this.note);
    $("strip").hidden = false;
    const at = (event) => data.targets[this.order[Math.min(order.length - 1, Math.max(0, Math.floor(event.offsetX / this.canvas.clientWidth * order.length)))]];
    this.canvas.addEventListener("pointermove", (event) => {
      const target = at(event);
      this.note.textContent = `${target.name}: ` + (this.rows.filter((row) => target.counts[row.name])
        .map((row) => `${number(target.counts[row.name])} ${row.name}`).join(", ") || "nothing") + (target.halted ? `; halted: ${target.halted}` : "");
    });
    this.canvas.addEventListener("click", (event) => showTarget(at(event)));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.paint());
    this.paint();
  }
  paint() {
    const high = 18, scale = devicePixelRatio || 1, wide = this.canvas.parentNode.clientWidth - 84;
    this.canvas.width = wide * scale;
    this.canvas.height = this.rows.length * high * scale;
    this.canvas.style.height = `${this.rows.length * high}px`;
    const context = this.canvas.getContext("2d");
    context.scale(scale, scale);
    const step = wide / this.order.length, gap = step > 6 ? 1 : 0;
    this.rows.forEach((row, line) => {
      context.fillStyle = css(`--o-${row.name}`);
      this.order.forEach((target, at) => {
        const here = data.targets[target].counts[row.name];
        if (!here) return;
        context.globalAlpha = 0.25 + 0.75 * Math.sqrt(here / this.sums[target]);
        /* Whole pixels: parts of them would show a pattern that is not there. */
        const left = Math.floor(at * step * scale) / scale, right = Math.ceil((at + 1) * step * scale) / scale;
        context.fillRect(left, line * high + 1, Math.max(1 / scale, right - left - gap), high - 2);
      });
    });
  }
}

/* Entries and problems. */
let rows = null;
class Rows {
  constructor() {
    this.kinds = { entries: this.entries(), problems: this.problems() };
    const { entries, problems } = data, host = $("rows");
    this.search = make("input", { type: "search", placeholder: "Search: name, reason, ARN \u2026", "aria-label": "Search", autocomplete: "off", spellcheck: "false" });
    this.selects = {};
    const choice = (kind, total, count) => make("label", {}, make("input", { type: "radio", name: "kind", value: kind, onchange: () => this.change(kind) }),
      `${number(total)} ${total === 1 ? count.replace(/ies$/, "y").replace(/s$/, "") : count}`);
    this.choices = make("fieldset", {}, make("legend", { class: "note", hidden: true }, "Show"),
      choice("entries", entries.total, "entries"), choice("problems", problems.total, "problems"));
    this.choices.hidden = !problems.total;
    this.touched = make("input", { type: "checkbox" });
    this.touchedLabel = make("label", {}, this.touched, "changed by this run");
    this.controls = make("div", { class: "controls", role: "search" }, this.choices, this.search);
    this.found = make("p", { class: "note", "aria-live": "polite" });
    this.place = make("div");
    host.append(this.controls, this.found, this.place);
    let asked = 0;
    this.search.addEventListener("input", () => { cancelAnimationFrame(asked); asked = requestAnimationFrame(() => this.filter()); });
    this.touched.addEventListener("change", () => this.filter());
    const begin = problems.total && !entries.total ? "problems" : "entries";
    this.choices.querySelector(`[value=${begin}]`).checked = true;
    this.change(begin);
  }
  entries() {
    const source = data.entries, name = source.name, ids = source.id;
    const one = (at) => details(name[at], [["target", word(source.target, at)], ["state", word(source.state, at)], ["code", word(source.code, at)],
      ["reason", word(source.message, at)], ["ARN", ids[at] ? make("code", {}, `${word(source.place, at)}/${ids[at]}`) : ""], ["changed", source.at[at] ? `${moment(source.at[at])} UTC` : ""],
      ["more", make("code", {}, `provisioner show '${name[at]}'`)]]);
    return {
      source, words: ["target", "state", "code", "message", "place"], texts: [name, ids], selects: ["state", "target", "code"],
      columns: [
        { title: "Name", keys: () => name, cell: (at) => make("button", { type: "button", class: "link", onclick: () => one(at) }, name[at]) },
        ...(source.target.of.length > 1 ? [wordColumn(source.target, "Target", "wide", "160px")] : []),
        { title: "State", width: "112px", keys: () => ranks(source.state), cell: (at, cell) => {
          cell.style.setProperty("--c", colour(word(source.state, at)));
          return make("span", { class: "state" }, word(source.state, at));
        } },
        ...(source.code.of.some(Boolean) ? [wordColumn(source.code, "Code", "wide", "190px"), wordColumn(source.message, "Reason", "wide")]
          : [{ title: "ARN", class: "wide", keys: () => ids, cell: (at) => ids[at] ? `${word(source.place, at)}/${ids[at]}` : "" }]),
        { title: "Changed (UTC)", class: "wide", width: "170px", downFirst: true, keys: () => source.at, cell: (at) => source.at[at] ? moment(source.at[at]) : "" },
      ],
    };
  }
  problems() {
    const source = data.problems, name = source.name;
    const where = (at) => word(source.source, at) ? `${word(source.source, at)}:${source.line[at]}` : "";
    const one = (at) => details(name[at] || where(at), [["target", word(source.target, at)], ["kind", word(source.severity, at)], ["code", word(source.code, at)],
      ["message", word(source.message, at)], ["line", where(at)], ["more", make("code", {}, `provisioner explain ${word(source.code, at)}`)]]);
    return {
      source, words: ["target", "code", "message", "source", "severity"], texts: [name], selects: ["severity", "code", "target"],
      columns: [
        { title: "Name", keys: () => name, cell: (at) => make("button", { type: "button", class: "link", onclick: () => one(at) }, name[at] || where(at) || "(all)") },
        ...(source.target.of.length > 1 ? [wordColumn(source.target, "Target", "wide", "160px")] : []),
        wordColumn(source.code, "Code", "", "190px"), wordColumn(source.message, "Message", "wide"),
        { title: "Line", class: "wide", width: "190px", keys: () => source.source.is.map((place, at) => place * 1e7 + source.line[at]), cell: where },
      ],
    };
  }
  change(kind) {
    this.kind = this.kinds[kind];
    const { source } = this.kind;
    for (const select of Object.values(this.selects)) select.parentNode.remove();
    this.selects = Object.fromEntries(this.kind.selects.filter((key) => source[key].of.filter(Boolean).length > (key === "target" ? 1 : 0)).map((key) => {
      const counts = new Map();
      for (const place of source[key].is) counts.set(place, (counts.get(place) || 0) + 1);
      const select = make("select", { "aria-label": key, onchange: () => this.filter() }, make("option", { value: "" }, `any ${key}`),
        ...source[key].of.map((text, place) => [text, place]).filter(([text]) => text).sort((one, other) => one[0] < other[0] ? -1 : 1)
          .map(([text, place]) => make("option", { value: place }, `${text} (${number(counts.get(place))})`)));
      this.controls.append(make("label", {}, select));
      return [key, select];
    }));
    this.touchedLabel.remove();
    if (kind === "entries" && data.kind === "run" && source.touched.includes(1)) this.controls.append(this.touchedLabel);
    grids.splice(0, grids.length, ...grids.filter((grid) => grid !== this.grid));
    this.place.replaceChildren();
    this.grid = new Grid(this.place, kind, this.kind.columns, source.name.length);
    this.filter();
  }
  only(target) {
    this.choices.querySelector("[value=entries]").checked = true;
    this.search.value = "";
    this.touched.checked = false;
    this.change("entries");
    if (this.selects.target) this.selects.target.value = data.entries.target.of.indexOf(target);
    this.filter();
  }
  filter() {
    const { source, words, texts } = this.kind, count = source.name.length;
    const tests = Object.entries(this.selects).filter(([, select]) => select.value !== "").map(([key, select]) => {
      const is = source[key].is, wanted = Number(select.value);
      return (at) => is[at] === wanted;
    });
    if (this.touched.checked && this.touchedLabel.isConnected) tests.push((at) => source.touched[at] === 1);
    for (const term of this.search.value.toLowerCase().split(/\s+/).filter(Boolean)) {
      const hits = words.map((key) => [source[key].is, source[key].of.map((text) => text.toLowerCase().includes(term))]).filter(([, hit]) => hit.includes(true));
      const lowered = texts.map((text) => this.lowered(text));
      tests.push((at) => hits.some(([is, hit]) => hit[is[at]]) || lowered.some((text) => text[at].includes(term)));
    }
    const found = new Int32Array(count);
    let size = 0;
    next: for (let at = 0; at < count; at++) {
      for (const test of tests) if (!test(at)) continue next;
      found[size++] = at;
    }
    this.grid.show(found.subarray(0, size));
    const more = source.total > count ? ` The page lists ${number(count)} of ${number(source.total)}: those to look at, then others.` : "";
    this.found.textContent = (size === count ? `${number(count)} rows.` : `${number(size)} of ${number(count)} rows.`) + more;
  }
  lowered(text) {
    this.low ||= new Map();
    if (!this.low.has(text)) this.low.set(text, text.map((one) => one.toLowerCase()));
    return this.low.get(text);
  }
}
const word = (words, at) => words.of[words.is[at]];
function ranks(words) {
  const order = words.of.map((text, place) => [text, place]).sort((one, other) => one[0] < other[0] ? -1 : one[0] > other[0] ? 1 : 0);
  const rank = [];
  order.forEach(([, place], at) => { rank[place] = at; });
  return words.is.map((place) => rank[place]);
}
const wordColumn = (words, title, wide, width) => ({ title, class: wide, width, keys: () => ranks(words), cell: (at) => word(words, at) });

addEventListener("beforeprint", () => {
  document.documentElement.classList.add("print");
  for (const grid of grids) { grid.printing = true; grid.paint(); }
  if (plots.length) charts($("series").value);
  queueMicrotask(() => { for (const plot of plots) plot.setSize({ width: 660, height: 180 }); });
  strip?.paint();
});
addEventListener("afterprint", () => {
  document.documentElement.classList.remove("print");
  for (const grid of grids) { grid.printing = false; grid.paint(); }
  if (plots.length) charts($("series").value);
  strip?.paint();
});

head();
causes();
overTime();
incidents();
runs();
fleet();
rows = new Rows();
document.documentElement.dataset.ready = "yes";
})();
