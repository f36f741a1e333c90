// The tab for many images: reads a zip or files, classifies them in small groups, and shows and saves a table.

import * as engine from "./engine.js";
import { columns, row, toCsv } from "./csv.js";
import { UNSURE, element, label, parts, percent, sentence } from "./labels.js";
import { BrokenZip, openZip } from "./zip.js";

const GROUP = 8; // images at a time
const SURE = "sure"; // heading of the finest sure class
const SHOWN = 500; // rows of the table on the page; the CSV has all

const find = (selector) => document.querySelector(`#batch ${selector}`);

let current = 0; // the batch that is under way; an earlier one ends when it sees another number

export const classifyBatch = async (files, model) => {
  const mine = ++current;
  stopped = 0; // what is left of a batch that was stopped must not end this one
  const isEnded = () => mine !== current;
  const answers = [];
  let failure = "";
  begin(model);
  try {
    const entries = await entriesOf(files, model);
    for (let at = 0; at < entries.length && !isEnded(); at += GROUP) {
      const found = await answersOf(entries.slice(at, at + GROUP), model);
      if (isEnded()) break;
      showRows(found, answers.length, model);
      answers.push(...found);
      showProgress(answers, entries.length, "");
    }
    if (answers.length < entries.length) failure = `Stopped after ${answers.length} of ${entries.length} images.`;
  } catch (error) {
    failure = sentence(error.message);
  }
  if (mine === current || stopped === mine) end(answers, model, failure);
};

let stopped = 0; // the batch that the user has stopped

const begin = (model) => {
  find("").hidden = false;
  find("#csv").hidden = true;
  find("#stop").hidden = false;
  find("#stop").onclick = () => {
    stopped = current;
    current++;
  };
  find("#progress").hidden = false;
  find("#progress").removeAttribute("value");
  find("#counted").className = "";
  find("#counted").textContent = "Reading…";
  find("#more").textContent = "";
  const headings = ["image", ...model.levels, SURE];
  find("thead").replaceChildren(element("tr", {}, ...headings.map((text) => element("th", { scope: "col" }, text))));
  find("tbody").replaceChildren();
};

const end = (answers, model, failure) => {
  find("#stop").hidden = true;
  find("#progress").hidden = true;
  if (failure) {
    find("#counted").className = "refusal";
    find("#counted").textContent = failure;
  }
  if (!answers.length) return;
  const link = find("#csv");
  URL.revokeObjectURL(link.href);
  link.href = URL.createObjectURL(new Blob([toCsv([columns(model), ...answers.map((answer) => row(answer, model))])], { type: "text/csv" }));
  link.download = "predictions.csv";
  link.hidden = false;
};

const entriesOf = async (files, model) => {
  const found = [];
  for (const file of files) {
    if (!/\.zip$/i.test(file.name)) found.push({ name: file.name, read: async () => file });
    else
      try {
        found.push(...(await openZip(file, model.limits.file_bytes)));
      } catch (error) {
        if (files.length === 1 || !(error instanceof BrokenZip)) throw error;
        found.push({ name: file.name, read: () => Promise.reject(error) });
      }
  }
  return found;
};

const answersOf = async (entries, model) => {
  const most = model.limits.file_bytes;
  const read = async ({ name, read }) => {
    try {
      const content = await read();
      if (content.size > most) throw new BrokenZip(`the file has more than ${most >> 20} MiB`);
      return { name, content };
    } catch (error) {
      return { name, error: error.message };
    }
  };
  const files = await Promise.all(entries.map(read));
  const answers = [];
  for (const group of groupsOf(files.filter(({ content }) => content), model.limits.request_bytes)) answers.push(...(await engine.classify(group)));
  return files.map(({ name, error }) =>
    error ? { path: name, error, classes: {}, probabilities: {}, answer: null } : { ...answers.shift(), path: name },
  );
};

// Returns the files in groups that fit into a request.
const groupsOf = (files, most) => {
  const groups = [];
  let size = Infinity;
  for (const file of files) {
    size += file.content.size + 1000;
    if (size > most) {
      groups.push([]);
      size = file.content.size + 1000;
    }
    groups.at(-1).push(file);
  }
  return groups;
};

const showProgress = (answers, count) => {
  find("#progress").max = count;
  find("#progress").value = answers.length;
  const broken = answers.filter(({ error }) => error).length;
  const unsure = answers.filter(({ answer }) => answer === UNSURE).length;
  const others = [unsure && `${unsure} unsure`, broken && `${broken} without an answer`].filter(Boolean).join(", ");
  find("#counted").textContent = `${answers.length} of ${count} images${others && ` (${others})`}`;
};

const showRows = (answers, before, model) => {
  const shown = answers.slice(0, Math.max(SHOWN - before, 0));
  find("tbody").append(...shown.map((answer) => rowOf(answer, model)));
  if (before + answers.length > SHOWN) find("#more").textContent = `The table shows the first ${SHOWN} images; the CSV has all.`;
};

const rowOf = (answer, model) => {
  const name = element("th", { scope: "row" }, answer.path);
  if (answer.error) return element("tr", {}, name, element("td", { class: "error", colspan: model.levels.length + 1 }, answer.error));
  const cells = model.levels.map((level) =>
    level in answer.classes
      ? element("td", { "data-of": level }, label(answer.classes[level]), element("span", { class: "soft" }, ` ${percent(answer.probabilities[level])}`))
      : element("td", { "data-of": level }, "–"),
  );
  const isUnsure = answer.answer === UNSURE;
  const sure = element("td", { "data-of": SURE, class: isUnsure ? "unsure" : "" }, isUnsure ? UNSURE : parts(answer.answer).join(" › "));
  return element("tr", {}, name, ...cells, sure);
};
