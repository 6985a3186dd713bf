// Parallel coordinates on a canvas: one line a configuration, constants hidden; a drag along an axis sets its limit.
"use strict";

const MARGIN = { top: 46, bottom: 26, side: 48 };

function parallelAxes() {
  const wanted = [...ex.data.main, find("ex-x").value, find("ex-y").value];
  return ex.varying.filter((one) => wanted.includes(one.key) && (one.kind === "number" || one.levels.length <= 12));
}

function startParallel() {
  const canvas = find("ex-parallel");
  let drag = null;
  const place = (event) => {
    const frame = canvas.getBoundingClientRect();
    const axes = parallelAxes();
    const step = (frame.width - 2 * MARGIN.side) / Math.max(1, axes.length - 1);
    const index = Math.round((event.clientX - frame.left - MARGIN.side) / step);
    return { one: axes[Math.max(0, Math.min(axes.length - 1, index))], share: shareAt(event.clientY - frame.top) };
  };
  canvas.addEventListener("pointerdown", (event) => { drag = place(event); canvas.setPointerCapture(event.pointerId); });
  canvas.addEventListener("pointerup", (event) => {
    if (drag?.one.kind === "number") {
      const ends = [drag.share, place(event).share].sort((a, b) => a - b);
      const [low, high] = ends.map((share) => valueAt(drag.one, share));
      if (ends[1] - ends[0] < 0.02) drag.one.setLimit(null, null);
      else drag.one.setLimit(low, high);
    }
    drag = null;
  });
}

const inner = () => find("ex-parallel").clientHeight - MARGIN.top - MARGIN.bottom;
const shareAt = (y) => Math.max(0, Math.min(1, 1 - (y - MARGIN.top) / inner()));

// Few levels stand at equal distances, many values by size.
function shareOf(one, value) {
  const last = one.levels.length - 1;
  if (one.kind === "text" || last < 8) return one.levels.indexOf(value) / last;
  return (value - one.levels[0]) / (one.levels[last] - one.levels[0]);
}

function valueAt(one, share) {
  const last = one.levels.length - 1;
  if (last < 8) return one.levels[0] === undefined ? null : between(one.levels, share * last);
  return one.levels[0] + share * (one.levels[last] - one.levels[0]);
}

function between(levels, place) {
  const below = Math.floor(place), above = Math.min(levels.length - 1, below + 1);
  return levels[below] + (place - below) * (levels[above] - levels[below]);
}

function drawParallel() {
  const canvas = find("ex-parallel");
  const axes = parallelAxes();
  canvas.style.minWidth = `${axes.length * 96}px`;
  const [width, height, ratio] = [canvas.clientWidth, canvas.clientHeight, devicePixelRatio || 1];
  if (!width || axes.length < 2) return;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const step = (width - 2 * MARGIN.side) / (axes.length - 1);
  const at = (one, index, row) => [MARGIN.side + index * step, MARGIN.top + (1 - shareOf(one, ex.data.values[one.key][row])) * inner()];
  const trace = (rows, ink, alpha, thick) => {
    Object.assign(pen, { strokeStyle: ink, globalAlpha: alpha, lineWidth: thick });
    for (const row of rows) strokeRow(pen, axes, at, row);
  };
  const within = new Set(ex.inside);
  trace(ex.data.names.map((_, row) => row).filter((row) => !within.has(row)), colour("--line"), 0.5, 1);
  trace(ex.inside, colour("--accent"), Math.max(0.08, Math.min(0.7, 60 / (ex.inside.length + 1))), 1);
  trace(ex.front, colour("--ink"), 0.9, 2);
  trace(ex.kept, PALETTE[1], 1, 3);
  pen.globalAlpha = 1;
  axes.forEach((one, index) => drawAxis(pen, one, MARGIN.side + index * step, step, height, colour));
  canvas.setAttribute("aria-label", `Parallel coordinates of ${axes.map((one) => one.label).join(", ")}. ${find("ex-status").textContent}`);
}

// A value that was not measured leaves a gap.
function strokeRow(pen, axes, at, row) {
  pen.beginPath();
  let open = false;
  axes.forEach((one, index) => {
    const value = ex.data.values[one.key][row];
    if (value === null || value === "") { open = false; return; }
    pen[open ? "lineTo" : "moveTo"](...at(one, index, row));
    open = true;
  });
  pen.stroke();
}

function drawAxis(pen, one, x, step, height, colour) {
  Object.assign(pen, { strokeStyle: colour("--soft"), fillStyle: colour("--ink"), lineWidth: 1, font: "12px system-ui, sans-serif", textAlign: "center" });
  pen.beginPath();
  pen.moveTo(x, MARGIN.top);
  pen.lineTo(x, height - MARGIN.bottom);
  pen.stroke();
  const limit = ex.limits[one.key];
  if (limit && one.kind === "number") {
    const [low, high] = limit.map((value) => MARGIN.top + (1 - shareOf(one, value)) * inner());
    Object.assign(pen, { fillStyle: colour("--accent"), globalAlpha: 0.35 });
    pen.fillRect(x - 6, high - 3, 12, low - high + 6);
    Object.assign(pen, { fillStyle: colour("--ink"), globalAlpha: 1 });
  }
  twoLines(pen, titled(one), x, Math.min(step * 0.95, 2 * MARGIN.side)); // the outer ones stay inside
  const last = one.levels.length - 1;
  const ticks = last < 8 ? one.levels : [one.levels[0], one.levels[last]];
  pen.textAlign = "left";
  for (const value of ticks) pen.fillText(briefly(value), x + 5, MARGIN.top + (1 - shareOf(one, value)) * inner() + 4, step - 8);
}

const briefly = (value) => (typeof value === "number" && Math.abs(value) >= 1e6 ? value.toPrecision(3) : written(value).slice(0, 14));

function twoLines(pen, text, x, room) {
  const words = text.split(" ");
  const lines = [""];
  for (const word of words) {
    const longer = `${lines.at(-1)} ${word}`.trim();
    if (lines.at(-1) && pen.measureText(longer).width > room) lines.push(word);
    else lines[lines.length - 1] = longer;
  }
  const shown = lines.length > 3 ? [...lines.slice(0, 2), `${lines[2]}…`] : lines;
  shown.forEach((one, index) => pen.fillText(one, x, 12 + 13 * index, room));
}
