// The explorer's state and controls: axes, limits, kept points. `scatter.js`, `parallel.js` and `lists.js` show it.
// Texts come from records and are untrusted: they enter the page as text nodes only, never as markup.
"use strict";

const PALETTE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F", "#A0522D"];
const SHAPES = ["circle", "square", "diamond", "triangle-up", "cross", "x", "star", "hexagon"];
const ex = { data: null, limits: {}, kept: [], inside: [], front: [], sort: { key: null, down: true }, shown: 50 };
const find = (id) => document.getElementById(id);

function make(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

async function unpackedText(id) {
  const signs = atob(find(id).textContent);
  const bytes = new Uint8Array(signs.length);
  for (let place = 0; place < signs.length; place += 1) bytes[place] = signs.charCodeAt(place);
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}

const unpacked = async (id) => JSON.parse(await unpackedText(id));

async function startExplorer() {
  ex.data = await unpacked("explore-data");
  ex.column = Object.fromEntries(ex.data.columns.map((one) => [one.key, one]));
  for (const one of ex.data.columns) {
    const known = [...new Set(ex.data.values[one.key].filter((value) => value !== null))];
    one.levels = one.kind === "number" ? known.sort((a, b) => a - b) : known;
  }
  ex.varying = ex.data.columns.filter((one) => one.levels.length > 1);
  fillSelects();
  find("explore").hidden = false;
  await showPlot();
  firstPlotDrawn();
  fillLimits();
  for (const id of ["ex-x", "ex-y", "ex-group", "ex-xlog", "ex-ylog", "ex-bars", "ex-device"]) {
    find(id)?.addEventListener("change", refresh);
  }
  find("ex-clear").addEventListener("click", clearLimits);
  find("ex-csv").addEventListener("click", saveCsv);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", refresh);
  matchMedia("print").addEventListener("change", drawParallel); // paper is always light
  addEventListener("resize", drawParallel);
  startParallel();
  await refresh();
}

function fillSelects() {
  const numbers = ex.data.columns.filter((one) => one.kind === "number" && one.levels.length);
  for (const [id, chosen] of [["ex-x", ex.data.x], ["ex-y", ex.data.y]]) {
    for (const one of numbers) find(id).append(make("option", { value: one.key, textContent: titled(one) }));
    find(id).value = chosen;
  }
  const groups = ex.varying.filter((one) => one.role !== "score" && one.role !== "cost" && one.levels.length <= 12);
  find("ex-group").append(make("option", { value: "", textContent: "nothing" }));
  for (const one of groups) find("ex-group").append(make("option", { value: one.key, textContent: one.label }));
  find("ex-group").value = ex.data.group;
  for (const device of ex.data.devices) find("ex-device").append(make("option", { value: device, textContent: device }));
  find("ex-device").parentElement.hidden = ex.data.devices.length < 2;
}

const titled = (one) => (one.unit ? `${one.label}, ${one.unit}` : one.label);

function fillLimits() {
  for (const one of ex.varying) {
    const own = one.kind === "number" ? sliders(one) : one.levels.length <= 12 ? boxes(one) : null;
    if (own) find(ex.data.main.includes(one.key) ? "ex-limits" : "ex-more-limits").append(own);
  }
}

// Sliders stand at the values that occur, so that a log axis needs none of its own.
function sliders(one) {
  const said = make("output");
  const last = one.levels.length - 1;
  const [least, most] = [0, last].map((start, side) =>
    make("input", { type: "range", min: 0, max: last, step: 1, value: start, ariaLabel: `${side ? "most" : "least"} ${one.label}` }));
  const show = () => { said.textContent = `${written(one.levels[least.value])} to ${written(one.levels[most.value])}`; };
  const moved = (event) => {
    if (+least.value > +most.value) (event?.target === least ? most : least).value = event.target.value;
    const whole = +least.value === 0 && +most.value === last;
    if (whole) delete ex.limits[one.key];
    else ex.limits[one.key] = [one.levels[least.value], one.levels[most.value]];
    show();
    refresh();
  };
  least.addEventListener("input", moved);
  most.addEventListener("input", moved);
  one.setLimit = (low, high) => {
    least.value = low === null ? 0 : Math.max(0, one.levels.findIndex((value) => value >= low));
    most.value = high === null ? last : Math.max(0, one.levels.findLastIndex((value) => value <= high));
    moved({ target: least });
  };
  show();
  return make("fieldset", { className: "limit" }, make("legend", { textContent: titled(one) }), least, most, said);
}

function boxes(one) {
  const own = one.levels.map((level) => make("input", { type: "checkbox", checked: true, value: level }));
  const moved = () => {
    const chosen = own.filter((box) => box.checked).map((box) => box.value);
    if (chosen.length === own.length) delete ex.limits[one.key];
    else ex.limits[one.key] = chosen;
    refresh();
  };
  own.forEach((box) => box.addEventListener("change", moved));
  one.setLimit = () => { own.forEach((box) => { box.checked = true; }); moved(); };
  const labels = own.map((box, place) => make("label", {}, box, ` ${one.levels[place] || "–"}`));
  return make("fieldset", { className: "limit" }, make("legend", { textContent: one.label }), ...labels);
}

function clearLimits() {
  for (const one of ex.varying) one.setLimit?.(null, null);
}

function isInside(row) {
  const device = find("ex-device").value;
  if (device && ex.data.values.device[row] !== device) return false;
  return Object.entries(ex.limits).every(([key, limit]) => {
    const value = ex.data.values[key][row];
    if (ex.column[key].kind === "text") return limit.includes(value);
    return value !== null && value >= limit[0] && value <= limit[1];
  });
}

// Test scores are chosen by their validation scores: whoever looks at test to choose is flattered by it.
function frontOf(rows, x, y) {
  if (!x.direction || !y.direction) return [];
  const [across, up] = [x, y].map((one) => ex.data.values[one.chosen_by || one.key].map((v) => (v === null ? null : one.direction === "max" ? -v : v)));
  const known = rows.filter((row) => across[row] !== null && up[row] !== null)
    .sort((a, b) => across[a] - across[b] || up[a] - up[b]);
  const found = [];
  let best = Infinity, last = null;
  for (const row of known) {
    const twin = last !== null && across[row] === across[last] && up[row] === up[last];
    if (up[row] < best || twin) { found.push(row); best = up[row]; last = row; }
  }
  return found;
}

async function refresh() {
  const drawn = showPlot();
  drawParallel();
  listRows();
  listKept();
  await drawn;
}

function showPlot() {
  const [x, y] = [ex.column[find("ex-x").value], ex.column[find("ex-y").value]];
  ex.inside = ex.data.names.map((_, row) => row).filter(isInside);
  ex.front = frontOf(ex.inside, x, y);
  say(x, y);
  return drawScatter(x, y);
}

function say(x, y) {
  const by = y.chosen_by || x.chosen_by ? ", chosen on validation and drawn at the test score" : "";
  const front = x.direction && y.direction ? `${ex.front.length} on the frontier of these two${by}` : "no better side on one of these axes, so no frontier";
  find("ex-status").textContent = `${ex.inside.length} of ${ex.data.names.length} configurations are within the limits; ${front}.`;
}

function keep(row) {
  ex.kept = ex.kept.includes(row) ? ex.kept.filter((one) => one !== row) : [...ex.kept, row];
  refresh();
}

function written(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value !== "number") return String(value);
  if (Math.abs(value) >= 1e4 && Math.abs(value) < 1e12) return Math.round(value).toLocaleString("en");
  return String(+value.toPrecision(4));
}

function saveCsv() {
  const quoted = (value) => `"${String(value ?? "").replaceAll('"', '""')}"`;
  const head = ["configuration", ...ex.data.columns.map((one) => one.key)];
  const lines = ex.inside.map((row) => [ex.data.names[row], ...ex.data.columns.map((one) => ex.data.values[one.key][row])]);
  const text = [head, ...lines].map((line) => line.map(quoted).join(",")).join("\n");
  const link = make("a", { href: URL.createObjectURL(new Blob([text], { type: "text/csv" })), download: "configurations.csv" });
  link.click();
  URL.revokeObjectURL(link.href);
}
