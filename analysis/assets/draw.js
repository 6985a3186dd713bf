// Unpacks plotly.js and draws the page's plots: the explorer first, then one plot a task, so that the page answers while the rest is drawn.
"use strict";

const pending = [...document.querySelectorAll(".plot[data-config]")].map((box) => () => {
  const figure = JSON.parse(document.getElementById("data-" + box.id).textContent);
  return Plotly.newPlot(box, figure.data, figure.layout, JSON.parse(box.dataset.config));
});

function firstPlotDrawn() {
  const root = document.documentElement;
  if (!root.dataset.firstPlotMs) root.dataset.firstPlotMs = Math.round(performance.now());
}

async function drawAll() {
  document.head.append(make("script", { textContent: await unpackedText("library") })); // its digest is in the policy
  if (find("explore")) await startExplorer();
  for (const draw of pending) {
    await new Promise((next) => setTimeout(next));
    await draw();
    firstPlotDrawn();
  }
  if (find("gallery")) await startGallery();
  document.documentElement.dataset.allDrawn = "yes";
}

drawAll();
