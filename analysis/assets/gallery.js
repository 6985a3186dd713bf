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
    const said = sides.map((side) => shown.configs[side.value].said[place]);
    const same = said[0].strip === said[1].strip;
    const words = sides.map((side, number) => make("div", {}, ...(same ? [] : [seen(shown, said[number])]), ...spoken(shown, side, said[number])));
    const references = make("ul", {}, ...clip.references.map((text) => make("li", { textContent: text })));
    return make("article", { className: "clip" }, make("h3", { textContent: clip.id }), ...(same ? [seen(shown, said[0])] : []),
      make("div", { className: "pair" }, ...words), make("p", { className: "soft", textContent: "References" }), references);
  }));
}

// Both trials may have seen the same frames; else each side has its own.
function seen(shown, own) {
  const strip = shown.strips[own.strip];
  const times = `frames at ${own.seconds.join(", ")} s`;
  if (!strip) return make("p", { className: "soft", textContent: `${times}; the clip was not at hand when this page was made` });
  const picture = make("img", { src: `data:image/jpeg;base64,${strip}`, alt: times, title: times });
  return make("div", { className: "frames", tabIndex: 0 }, picture);
}

function spoken(shown, side, own) {
  const score = own.score === null ? "" : ` · ${shown.metric} ${written(own.score)}`;
  const caption = make("p", { className: "caption", textContent: own.caption || "(says nothing)" });
  return [caption, make("p", { className: "soft", textContent: shown.configs[side.value].name + score })];
}
