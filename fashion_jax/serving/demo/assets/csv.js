// Writes the table of predict: the same columns, and cells that no spreadsheet takes for formulas.

import { label } from "./labels.js";

const BREAKS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029";
const INVISIBLE = "\u200b-\u200f\u2060\ufeff";
const SIGNS = "=+\\-@\uff1d\uff0b\uff0d\uff20\ufe66\ufe62\ufe63\ufe6b"; // with full-width and small forms
const FORMULA = new RegExp(
  `^(?=[\\t\\r\\n])|(?:^|(?<=[${BREAKS}]))(?=(?:(?![${BREAKS}])[\\s${INVISIBLE}])*[${SIGNS}])|(?<=[;\\t])(?=[${SIGNS}])`,
  "g",
);
const QUOTED = new RegExp(`[",${BREAKS}]`);

export const columns = (model) => [
  "path",
  ...model.levels.flatMap((level) => [level, `${level}_name`, `${level}_probability`]),
  "answer",
  "error",
];

export const row = (answer, model) => [
  answer.path,
  ...model.levels.flatMap((level) =>
    level in answer.classes ? [answer.classes[level], label(answer.classes[level]), answer.probabilities[level]] : ["", "", ""],
  ),
  answer.answer ?? "",
  answer.error,
];

const cell = (value) => {
  if (typeof value === "number") return String(value);
  const text = value.replace(FORMULA, "'");
  return QUOTED.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
};

export const toCsv = (rows) => rows.map((cells) => `${cells.map(cell).join(",")}\n`).join("");
