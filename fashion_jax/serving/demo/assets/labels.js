// Names of classes: paths from the root such as Apparel/Topwear, in which \/ is a slash inside of a label.

export const UNSURE = "unsure";

export const parts = (name) => (name.match(/(?:\\[^]|[^\\/])+/g) ?? [name]).map((part) => part.replace(/\\([^])/g, "$1"));

export const label = (name) => parts(name).at(-1);

// Returns a probability, rounded down, so that none below a threshold is shown as if it reached it.
export const percent = (value) => {
  const whole = Math.floor(100 * value + 1e-9);
  if (whole === 99 && 100 * value > 99 + 1e-9) return "over 99 %";
  return whole === 0 && value > 0 ? "under 1 %" : `${whole} %`;
};

// Returns a threshold, to one decimal, rounded up.
export const threshold = (value) => `${Math.ceil(1000 * value - 1e-9) / 10} %`;

// Returns a sentence made from a reason.
export const sentence = (reason) => `${reason[0].toUpperCase()}${reason.slice(1)}${/[.?!]$/.test(reason) ? "" : "."}`;

// Returns an element with attributes and children; text becomes text and nothing else.
export const element = (name, attributes = {}, ...children) => {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
};
