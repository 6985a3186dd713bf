// The explorer's table of configurations within the limits, and what is kept, side by side.
"use strict";

function tableColumns() {
  const wanted = [...ex.data.main, find("ex-x").value, find("ex-y").value, "seeds"];
  return ex.data.columns.filter((one) => wanted.includes(one.key) && (one.role !== "axis" || one.levels.length > 1));
}

function listRows() {
  const columns = tableColumns();
  const on = new Set(ex.front);
  const { key, down } = ex.sort;
  const order = (row) => (key ? ex.data.values[key][row] : (on.has(row) ? 1 : 0));
  const missing = (value) => value === null || value === "";
  const rows = [...ex.inside].sort((a, b) => {
    const [one, other] = [order(a), order(b)];
    if (missing(one) || missing(other)) return missing(one) - missing(other);
    return (one < other ? -1 : one > other ? 1 : 0) * (down ? -1 : 1) || a - b;
  });
  const heads = columns.map((one) => headCell(one));
  const head = make("tr", {}, ...["keep", "frontier"].map((text) => make("th", { scope: "col", textContent: text })), ...heads);
  const body = rows.slice(0, ex.shown).map((row) => listedRow(row, columns, on));
  const table = make("table", {}, make("thead", {}, head), make("tbody", {}, ...body));
  find("ex-table").replaceChildren(table);
  find("ex-more").hidden = rows.length <= ex.shown;
  find("ex-more").textContent = `Show more (${rows.length - ex.shown} left)`;
  find("ex-more").onclick = () => { ex.shown += 200; listRows(); };
}

function headCell(one) {
  const sorted = ex.sort.key === one.key;
  const button = make("button", { type: "button", textContent: titled(one) + (sorted ? (ex.sort.down ? " ↓" : " ↑") : "") });
  button.addEventListener("click", () => {
    ex.sort = { key: one.key, down: sorted ? !ex.sort.down : one.direction !== "min" };
    listRows();
    find("ex-table").querySelectorAll("th button")[tableColumns().indexOf(one)]?.focus();
  });
  return make("th", { scope: "col", ariaSort: sorted ? (ex.sort.down ? "descending" : "ascending") : "none" }, button);
}

function listedRow(row, columns, on) {
  const box = make("input", { type: "checkbox", checked: ex.kept.includes(row), ariaLabel: `keep ${ex.data.names[row]}` });
  box.addEventListener("change", () => keep(row));
  const cells = columns.map((one) => {
    const value = ex.data.values[one.key][row];
    return make("td", { className: one.kind === "number" ? "number" : "", textContent: written(value) + interval(one, row) });
  });
  const line = make("tr", { title: ex.data.names[row] }, make("td", {}, box), make("td", { textContent: on.has(row) ? "● yes" : "no" }), ...cells);
  line.addEventListener("mouseenter", () => highlight(row));
  return line;
}

function highlight(row) {
  const box = find("ex-plot");
  box.data.forEach((trace, curve) => {
    const place = trace.customdata?.indexOf(row) ?? -1;
    if (place >= 0 && trace.name !== "kept") Plotly.Fx.hover(box, [{ curveNumber: curve, pointNumber: place }]);
  });
}

async function listKept() {
  const place = find("ex-kept");
  find("ex-kept-part").hidden = !ex.kept.length;
  if (!ex.kept.length) { place.replaceChildren(); return; }
  ex.details ??= await unpacked("explore-details");
  const heads = ex.kept.map((row) => make("th", { scope: "col" }, dropButton(row), ` ${ex.data.names[row]}`));
  const lines = ex.data.columns.map((one) => keptLine(titled(one), ex.kept.map((row) => written(ex.data.values[one.key][row]) + interval(one, row))));
  lines.push(keptLine("chance to be on the study's frontier", ex.kept.map((row) => written(ex.data.chance[row]))));
  const names = [...new Set(ex.kept.flatMap((row) => Object.keys(ex.details.settings[row])))];
  for (const name of names) lines.push(keptLine(name, ex.kept.map((row) => written(ex.details.settings[row][name] ?? null))));
  const commands = ex.kept.map((row) => make("td", {}, make("pre", { textContent: ex.details.commands[row], tabIndex: 0 })));
  lines.push(make("tr", {}, make("th", { scope: "row", textContent: "to run it again" }), ...commands));
  const head = make("thead", {}, make("tr", {}, make("td"), ...heads));
  place.replaceChildren(make("table", {}, head, make("tbody", {}, ...lines)));
}

function keptLine(name, texts) {
  const differs = new Set(texts).size > 1;
  const cells = texts.map((text) => make("td", { textContent: text }));
  return make("tr", { className: differs ? "differs" : "" }, make("th", { scope: "row", textContent: name }), ...cells);
}

function dropButton(row) {
  const button = make("button", { type: "button", textContent: "✕", ariaLabel: `drop ${ex.data.names[row]}` });
  button.addEventListener("click", () => keep(row));
  return button;
}
