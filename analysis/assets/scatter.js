// The explorer's scatter plot. Labels are escaped: plotly reads some markup in them.
"use strict";

const escaped = (text) => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
const MANY = 3000; // points from which WebGL draws them
const FEW_BARS = 300; // points up to which all have their interval; above, the frontier and what is kept

function drawScatter(x, y) {
  const box = find("ex-plot");
  const at = (row) => [ex.data.values[x.key][row], ex.data.values[y.key][row]];
  const seen = (rows) => rows.filter((row) => at(row)[0] !== null && at(row)[1] !== null);
  const within = new Set(ex.inside);
  const outside = seen(ex.data.names.map((_, row) => row).filter((row) => !within.has(row)));
  const type = ex.data.names.length > MANY ? "scattergl" : "scatter";
  const traces = [
    points("outside the limits", outside, at, { type, colour: "#9a9a9a", shape: "circle-open", opacity: 0.35 }),
    line(seen(ex.front), at, x),
    ...groups(seen(ex.inside)).map((one) => points(one.name, one.rows, at, { ...one, type, bars: barred(one.rows, y) })),
    points("kept", seen(ex.kept), at, { type, colour: "#808080", shape: "circle-open", size: 17, width: 2.5 }),
  ];
  const drawn = Plotly.react(box, traces.filter((one) => one.x.length), layout(x, y), ex.data.config);
  if (!box.dataset.listens) {
    box.dataset.listens = "yes";
    box.on("plotly_click", (event) => keep(event.points[0].customdata));
  }
  box.setAttribute("aria-label", `${titled(y)} against ${titled(x)}. ${find("ex-status").textContent} The table below has the numbers.`);
  return drawn;
}

function points(name, rows, at, { type, colour, shape, size = 9, opacity = 1, width = 1, bars = null }) {
  const mark = { color: colour, symbol: shape, size, opacity, line: { width } };
  const own = { name: escaped(name), mode: "markers", type, marker: mark, cliponaxis: false };
  const where = { x: rows.map((row) => at(row)[0]), y: rows.map((row) => at(row)[1]), customdata: rows };
  const said = { hovertext: rows.map(hoverText), hovertemplate: "%{hovertext}<extra></extra>" };
  return { ...own, ...where, ...said, ...(bars && { error_y: { ...bars, color: colour } }) };
}

function line(rows, at, x) {
  const ordered = x.direction === "max" ? [...rows].reverse() : rows;
  const style = { color: "#808080", width: 2, shape: x.direction === "max" ? "vh" : "hv" };
  return { name: "frontier", mode: "lines", type: "scatter", x: ordered.map((row) => at(row)[0]), y: ordered.map((row) => at(row)[1]), line: style, hoverinfo: "skip" };
}

function groups(rows) {
  const column = ex.column[find("ex-group").value];
  if (!column) return [{ name: "configurations", rows, colour: PALETTE[0], shape: SHAPES[0] }];
  return column.levels.map((level, place) => ({
    name: `${column.label} ${level}`,
    rows: rows.filter((row) => ex.data.values[column.key][row] === level),
    colour: PALETTE[place % PALETTE.length],
    shape: SHAPES[place % SHAPES.length],
  }));
}

function barred(rows, y) {
  if (!find("ex-bars").checked || y.key !== ex.data.interval_of) return null;
  const few = ex.inside.length <= FEW_BARS;
  const shown = new Set([...ex.front, ...ex.kept]);
  const length = (row, end, sign) => (ex.data[end][row] === null || !(few || shown.has(row)) ? 0 : sign * (ex.data[end][row] - ex.data.values[y.key][row]));
  return { type: "data", symmetric: false, array: rows.map((row) => length(row, "high", 1)), arrayminus: rows.map((row) => length(row, "low", -1)), thickness: 1, width: 3 };
}

function hoverText(row) {
  const lines = [ex.data.names[row] + (ex.front.includes(row) ? " (on the frontier)" : "")];
  for (const one of ex.data.columns) {
    const value = ex.data.values[one.key][row];
    if (one.role !== "axis" && value !== null && value !== "") lines.push(`${one.label} ${written(value)} ${one.unit}`.trim() + interval(one, row));
  }
  if (ex.data.chance[row] !== null) lines.push(`chance to be on the study's frontier ${written(ex.data.chance[row])}`);
  return [...lines, ...ex.data.recipes[ex.data.recipe[row]]].map(escaped).join("<br>");
}

function interval(one, row) {
  if (one.key !== ex.data.interval_of || ex.data.low[row] === null) return "";
  return ` [${written(ex.data.low[row])}, ${written(ex.data.high[row])}]`;
}

function layout(x, y) {
  const side = (one, log) => ({
    title: { text: escaped(titled(one)), standoff: 8 },
    type: find(log).checked ? "log" : "linear",
    gridcolor: "#D9D9D9", linecolor: "#D9D9D9", zeroline: false, automargin: true,
  });
  return {
    font: { family: "system-ui, sans-serif", size: 13, color: "#808080" },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    margin: { l: 64, r: 16, t: 16, b: 56 }, hovermode: "closest", hoverlabel: { align: "left", font: { size: 12 } },
    legend: { orientation: "h", x: 0, y: -0.18, yanchor: "top", bgcolor: "rgba(0,0,0,0)" },
    showlegend: true, xaxis: side(x, "ex-xlog"), yaxis: side(y, "ex-ylog"),
    modebar: { bgcolor: "rgba(0,0,0,0)", color: "#808080", activecolor: PALETTE[0] },
    uirevision: `${x.key} ${y.key} ${find("ex-xlog").checked} ${find("ex-ylog").checked}`,
  };
}
