// Classifies in this browser: a worker decodes the images and runs the model.

export const where = "The image stays in this browser: nothing is sent.";

export const api = null;

const worker = new Worker("worker.js", { type: "module" });
const waiting = new Map();
let count = 0;

worker.addEventListener("message", ({ data: { number, said, result, error } }) => {
  const { done, failed, say } = waiting.get(number);
  if (said) return say(said);
  waiting.delete(number);
  if (error) failed(new Error(error));
  else done(result);
});

worker.addEventListener("error", () => {
  for (const { failed } of waiting.values()) failed(new Error("this browser cannot run the model: try a newer one"));
  waiting.clear();
});

const ask = (task, value, say) =>
  new Promise((done, failed) => {
    waiting.set(++count, { done, failed, say });
    worker.postMessage({ number: count, task, value });
  });

export const open = (say) => ask("open", null, say);

export const classify = (files) => ask("classify", files);

export const explain = null; // needs the run
