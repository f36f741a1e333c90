// Names of classes: paths from the root such as Apparel/Topwear, in which \/ is a slash inside of a label.

export const UNSURE = "unsure";

export const parts = (name) => (name.match(/(?:\\[^]|[^\\/])+/g) ?? [name]).map((part) => part.replace(/\\([^])/g, "$1"));

export const label = (name) => parts(name).at(-1);

export const percent = (value) => {
  const rounded = 100 * value;
  if (rounded > 99.5 && rounded < 100) return "over 99 %";
  if (rounded > 0 && rounded < 0.5) return "under 1 %";
  return `${Math.round(rounded)} %`;
};

// Returns a sentence made from a reason.
export const sentence = (reason) => `${reason[0].toUpperCase()}${reason.slice(1)}${/[.?!]$/.test(reason) ? "" : "."}`;

// Returns an element with attributes and children; text becomes text and nothing else.
export const element = (name, attributes = {}, ...children) => {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
};
