// The page: tabs, the ways an image comes in, and what is shown of its answer.

import * as engine from "./engine.js";
import { classifyBatch } from "./batch.js";
import { element, label, threshold } from "./labels.js";
import { showLevels, showRefusal, showVerdict } from "./results.js";

const byId = (id) => document.getElementById(id);

let model = null;
let shown = 0; // the number of the image that is shown: answers for earlier ones come too late
const ready = start();

async function start() {
  try {
    model = await engine.open((text) => (byId("model").textContent = text));
  } catch (error) {
    byId("model").replaceChildren();
    const failure = new Error(`the model cannot be loaded: ${error.message}`, { cause: error });
    showRefusal(byId("verdict"), failure.message);
    throw failure;
  }
  const counts = model.levels.map((level) => `${model.labels[level].length} ${level}`);
  byId("model").textContent = `${model.name} knows ${counts.join(" and ")} classes`;
  const about = [`${engine.where} ${calibration()} ${model.heat_maps ? "" : "An export shows no heat maps. "}fashion_jax ${model.fashion_jax}.`];
  if (engine.api) about.push(" ", element("a", { href: engine.api }, "The API"), ".");
  byId("about").replaceChildren(...about);
}

const calibration = () => {
  const values = [...new Set(model.levels.map((level) => model.thresholds[level]).filter((value) => value !== null))].map(threshold);
  const from = values.length ? [`A class counts as sure from ${values.join(" or ")} on, which the line in each bar marks.`] : [];
  const calibrated = {
    true: ["Probabilities are calibrated: of many answers with 80 %, about 80 % are right."],
    false: ["Probabilities are not calibrated, and tend to be too high."],
  };
  return [...from, ...(calibrated[model.calibrated] ?? [])].join(" ");
};

// One image

const tooLarge = (file) =>
  file.size > model.limits.file_bytes &&
  `the file has ${Math.round(file.size / 2 ** 20).toLocaleString("en")} MiB, more than ${model.limits.file_bytes >> 20} MiB: make it smaller.`;

const showPicture = (file) => {
  const picture = byId("picture");
  const name = file.name || "pasted image";
  URL.revokeObjectURL(picture.src);
  picture.onerror = () => {
    picture.hidden = true;
    byId("file").textContent = `${name}, which this browser cannot show`;
  };
  picture.alt = `Your image, ${name}`;
  picture.src = URL.createObjectURL(file);
  picture.hidden = false;
  byId("no-picture").hidden = true;
  byId("file").textContent = name;
};

const classifyOne = async (file) => {
  const mine = ++shown;
  const [verdict, levels, explanation] = ["verdict", "levels", "explanation"].map(byId);
  for (const place of [levels, explanation]) place.replaceChildren();
  showPicture(file);
  verdict.replaceChildren(element("p", { class: "soft" }, "Looking at the image…"));
  try {
    await ready;
    const began = performance.now();
    const refusal = tooLarge(file);
    const [answer] = refusal ? [{ error: refusal }] : await engine.classify([{ name: file.name, content: file }]);
    if (mine !== shown) return;
    if (answer.error) return showRefusal(verdict, answer.error);
    showVerdict(verdict, answer, model, (performance.now() - began) / 1000);
    showLevels(levels, answer, model);
    if (model.heat_maps) explanation.replaceChildren(explainButton(file, answer, mine));
  } catch (error) {
    if (mine === shown) showRefusal(verdict, error.message);
  }
};

const explainButton = (file, answer, mine) => {
  const button = element("button", { type: "button" }, "Show what speaks for it");
  button.onclick = async () => {
    const place = byId("explanation");
    place.replaceChildren(element("p", { class: "soft", role: "status" }, "Drawing heat maps… the first time takes longer."));
    try {
      const maps = await engine.explain({ name: file.name, content: file });
      if (mine === shown) place.replaceChildren(...explanationOf(maps, answer));
    } catch (error) {
      if (mine === shown) showRefusal(place, error.message);
    }
  };
  return button;
};

const explanationOf = (maps, answer) => [
  element("h3", {}, "What speaks for it"),
  element("p", { class: "soft" }, "Bright places speak for the class (Grad-CAM)."),
  element(
    "div",
    { class: "maps" },
    ...Object.entries(maps).map(([level, url]) => {
      const name = label(answer.classes[level]);
      return element("figure", {}, element("img", { src: url, alt: `Heat map for ${name}` }), element("figcaption", {}, `${level}: ${name}`));
    }),
  ),
];

// The ways in

const take = (files) => {
  const several = files.length > 1 || files.some((file) => /\.zip$/i.test(file.name));
  if (several) takeMany(files);
  else if (files.length) {
    select(byId("tab-one"));
    classifyOne(files[0]);
  }
};

const takeMany = async (files) => {
  if (!files.length) return;
  select(byId("tab-many"));
  try {
    await ready;
  } catch (error) {
    return showRefusal(byId("no-batch"), error.message);
  }
  classifyBatch(files, model);
};

for (const button of document.querySelectorAll("[data-opens]")) button.onclick = () => byId(button.dataset.opens).click();

for (const [id, taken] of [["choose-one", take], ["photograph", take], ["choose-many", takeMany]])
  byId(id).onchange = ({ target }) => {
    taken([...target.files]);
    target.value = ""; // so that the same file can be chosen again
  };

document.addEventListener("paste", (event) => {
  const files = [...event.clipboardData.files];
  if (!files.length) return;
  event.preventDefault();
  take(files);
});

let depth = 0; // of elements that a dragged file has entered
const mark = () => document.body.classList.toggle("dragging", depth > 0);
const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
document.addEventListener("dragenter", (event) => hasFiles(event) && (depth++, mark()));
document.addEventListener("dragleave", (event) => hasFiles(event) && (depth--, mark()));
document.addEventListener("dragover", (event) => hasFiles(event) && event.preventDefault());
document.addEventListener("drop", (event) => {
  depth = 0;
  mark();
  if (!hasFiles(event)) return;
  event.preventDefault();
  const files = [...event.dataTransfer.files];
  if (!byId("many").hidden) takeMany(files);
  else take(files);
});

// The tabs

const tabs = [...document.querySelectorAll("[role=tab]")];

const select = (tab) => {
  for (const other of tabs) {
    const isSelected = other === tab;
    other.setAttribute("aria-selected", isSelected);
    other.tabIndex = isSelected ? 0 : -1;
    byId(other.getAttribute("aria-controls")).hidden = !isSelected;
  }
};

tabs.forEach((tab, place) => {
  tab.onclick = () => select(tab);
  tab.onkeydown = ({ key }) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[key];
    if (!step) return;
    const next = tabs[(place + step + tabs.length) % tabs.length];
    select(next);
    next.focus();
  };
});
