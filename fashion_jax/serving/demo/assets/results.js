// Shows the answer for one image: a verdict in words, and the likeliest classes of each level as bars.

import { UNSURE, element, label, parts, percent, sentence, threshold } from "./labels.js";

// Returns what is sure about an image and what is not: a heading, and sentences.
export const verdict = (answer, model) => {
  const finest = model.levels.filter((level) => level in answer.classes).at(-1);
  const guess = answer.classes[finest];
  const likeliest = `${label(guess)} (${percent(answer.probabilities[finest])})`;
  if (answer.answer === UNSURE)
    return {
      heading: "Unsure",
      sentences: [`${tooLow(model)} The likeliest is ${parts(guess).slice(0, -1).map((part) => `${part} › `).join("")}${likeliest}.`],
    };
  const level = model.levels[parts(answer.answer).length - 1];
  const heading = parts(answer.answer).join(" › ");
  const sure = sentence(`${percent(answer.probabilities[level])} probable`);
  if (level === finest) return { heading, sentences: [sure] };
  return { heading, sentences: [sure, `Which kind is unsure: the likeliest is ${likeliest}.`] };
};

const tooLow = (model) => {
  const thresholds = new Set(Object.values(model.thresholds));
  const [only] = thresholds;
  return thresholds.size === 1 && only !== null ? `No class reaches ${threshold(only)}.` : "No class is sure enough.";
};

export const showVerdict = (place, answer, model, seconds) => {
  const { heading, sentences } = verdict(answer, model);
  const took = ` Answered in ${seconds < 0.095 ? `${Math.max(Math.round(1000 * seconds), 1)} ms` : `${seconds.toFixed(1)} s`}.`;
  place.replaceChildren(
    element("h2", answer.answer === UNSURE ? { class: "unsure" } : {}, heading),
    element("p", {}, sentences.join(" "), element("span", { class: "soft" }, took)),
  );
};

export const showRefusal = (place, reason) =>
  place.replaceChildren(element("p", { class: "refusal" }, element("b", {}, "No answer. "), sentence(reason)));

export const showLevels = (place, answer, model) =>
  place.replaceChildren(...model.levels.map((level) => levelOf(level, answer, model)));

const levelOf = (level, answer, model) => {
  const least = model.thresholds[level];
  const rows = answer.top[level].map(({ class: name, probability }) => barOf(name, probability, least, name === answer.classes[level]));
  const none = level in answer.classes ? [] : [element("p", { class: "soft" }, `${label(Object.values(answer.classes).at(-1))} has no finer classes.`)];
  const said = least === null ? "no probability is sure at this level" : `sure from ${threshold(least)}`;
  return element(
    "section",
    { class: "level" },
    element("h3", {}, level, element("span", { class: "soft" }, ` ${said}`)),
    ...none,
    element("ol", { class: "bars" }, ...rows),
  );
};

const barOf = (name, probability, least, isChosen) => {
  const path = parts(name);
  const bar = element("span", { class: "fill" });
  bar.style.width = `${100 * probability}%`;
  const track = element("span", { class: "track" }, bar);
  track.setAttribute("aria-hidden", "true");
  if (least !== null) {
    const mark = element("span", { class: "mark" });
    mark.style.left = `${100 * least}%`;
    track.append(mark);
  }
  const classes = [isChosen && "chosen", least !== null && probability >= least && "sure"].filter(Boolean).join(" ");
  const parent = path.length > 1 ? [element("span", { class: "soft" }, ` ${path.slice(0, -1).join(" › ")}`)] : [];
  return element(
    "li",
    classes ? { class: classes } : {},
    element("span", { class: "name" }, path.at(-1), ...parent),
    element("span", { class: "value" }, percent(probability)),
    track,
  );
};
