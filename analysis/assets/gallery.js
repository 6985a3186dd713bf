// Clips with the frames and captions of two chosen configurations, side by side, and the references below.
"use strict";

async function startGallery() {
  const shown = await unpacked("gallery-data");
  const sides = ["ga-left", "ga-right"].map(find);
  sides.forEach((side, place) => {
    shown.configs.forEach((one, number) => side.append(make("option", { value: number, textContent: one.name })));
    side.value = place ? shown.other : 0;
    side.addEventListener("change", () => showClips(shown, sides));
  });
  find("gallery").hidden = false;
  showClips(shown, sides);
}

function showClips(shown, sides) {
  find("ga-clips").replaceChildren(...shown.clips.map((clip, place) => {
    const said = sides.map((side) => spoken(shown, shown.configs[side.value], place));
    const references = make("ul", {}, ...clip.references.map((text) => make("li", { textContent: text })));
    const pair = make("div", { className: "pair" }, ...said);
    return make("article", { className: "clip" }, make("h3", { textContent: clip.id }), pair, make("p", { className: "soft", textContent: "References" }), references);
  }));
}

function spoken(shown, config, place) {
  const own = config.said[place];
  const strip = shown.strips[own.strip];
  const times = `frames at ${own.seconds.join(", ")} s`;
  const frames = strip
    ? make("img", { src: `data:image/jpeg;base64,${strip}`, alt: times, title: times })
    : make("p", { className: "soft", textContent: `${times}; the clip was not at hand when this page was made` });
  const score = own.score === null ? "" : ` · ${shown.metric} ${written(own.score)}`;
  return make("div", {}, frames, make("p", { className: "caption", textContent: own.caption || "(says nothing)" }),
    make("p", { className: "soft", textContent: config.name + score }));
}
