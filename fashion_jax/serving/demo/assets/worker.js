// Classifies images beside the page: decodes them and runs the model with onnxruntime-web, in one thread.

import * as ort from "./runtime/ort.js";
import { Undecodable, decode } from "./pixels.js";

let model;
let session;

// The server is asked whether a file in the browser's cache is still the newest: the files of two models do not mix.
const newest = (address) => fetch(address, { cache: "no-cache" });

const fetched = async (address, said) => {
  const response = await newest(address);
  if (!response.ok) throw new Error(`${address} has been answered with status ${response.status}`);
  const total = Number(response.headers.get("Content-Length"));
  const parts = [];
  let count = 0;
  for (let reader = response.body.getReader(), part = await reader.read(); !part.done; part = await reader.read()) {
    parts.push(part.value);
    count += part.value.byteLength;
    said(count, total);
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
};

const open = async (said) => {
  model = await (await newest("model.json")).json();
  ort.env.wasm.numThreads = 1; // more threads need a page that the server isolates by its headers
  ort.env.wasm.wasmBinary = (await fetched("runtime/ort.wasm", () => {})).buffer;
  const onnx = await fetched("model.onnx", (count, total) => {
    const of = total >= count ? ` of ${Math.round(total / 2 ** 20)}` : "";
    said(`Loading the model… ${Math.round(count / 2 ** 20)}${of} MiB`);
  });
  session = await ort.InferenceSession.create(onnx, { executionProviders: ["wasm"], graphOptimizationLevel: "all" });
  return model;
};

const classify = async (files) => {
  const answers = [];
  for (const { name, content } of files)
    try {
      answers.push(answerOf(name, await run(await decode(content, model.canvas, model.resize))));
    } catch (error) {
      if (!(error instanceof Undecodable)) throw error;
      answers.push({ path: name, error: error.message, classes: {}, probabilities: {}, answer: null });
    }
  return answers;
};

const run = async (pixels) => {
  const { height, width } = model.canvas;
  const images = new ort.Tensor("uint8", Uint8Array.from(pixels), [1, height, width, 3]);
  return session.run({ images });
};

// Returns what Answer.to_dict() of fashion_jax.serving.answers holds.
const answerOf = (path, outputs) => {
  const probabilities = Object.fromEntries(model.levels.map((level) => [level, outputs[`${level}_probabilities`].data]));
  const sure = sureClass(probabilities);
  const ids = sure ? pathBelow(sure, probabilities) : Array.from(outputs.path.data, Number);
  const known = model.levels.map((level, depth) => [level, ids[depth]]).filter(([, id]) => id >= 0);
  return {
    path,
    error: "",
    classes: Object.fromEntries(known.map(([level, id]) => [level, model.labels[level][id]])),
    probabilities: Object.fromEntries(known.map(([level, id]) => [level, probabilities[level][id]])),
    answer: sure ? model.labels[model.levels[sure.depth]][sure.id] : "unsure",
    top: Object.fromEntries(model.levels.map((level) => [level, best(level, probabilities[level])])),
  };
};

// Returns the deepest likeliest class that reaches its threshold, as depth and id; null if none does.
const sureClass = (probabilities) => {
  for (let depth = model.levels.length - 1; depth >= 0; depth--) {
    const level = model.levels[depth];
    const id = likeliest(probabilities[level]);
    const threshold = model.thresholds[level];
    if (threshold !== null && probabilities[level][id] >= threshold) return { depth, id };
  }
  return null;
};

// Returns the ids of the likeliest path through a class, -1 below a class without children.
const pathBelow = ({ depth, id }, probabilities) => {
  const ancestors = (at, number) => (at === 0 ? [number] : [...ancestors(at - 1, model.parents[model.levels[at]][number]), number]);
  const leaves = model.levels.flatMap((level, at) =>
    model.labels[level].map((_, number) => ({ at, number, path: ancestors(at, number) })).filter(({ path }) => at >= depth && path[depth] === id && isLeaf(at, path.at(-1))),
  );
  const found = leaves.reduce((one, other) => (probability(other, probabilities) > probability(one, probabilities) ? other : one));
  return model.levels.map((_, at) => found.path[at] ?? -1);
};

const isLeaf = (depth, id) => depth === model.levels.length - 1 || !model.parents[model.levels[depth + 1]].includes(id);

const probability = ({ at, number }, probabilities) => probabilities[model.levels[at]][number];

const likeliest = (values) => values.reduce((best, value, id) => (value > values[best] ? id : best), 0);

const best = (level, values) =>
  Array.from(values, (probability, id) => ({ class: model.labels[level][id], probability }))
    .sort((a, b) => b.probability - a.probability)
    .slice(0, model.best);

const TASKS = { open, classify };

addEventListener("message", async ({ data: { number, task, value } }) => {
  try {
    const said = (text) => postMessage({ number, said: text });
    postMessage({ number, result: await TASKS[task](task === "open" ? said : value) });
  } catch (error) {
    postMessage({ number, error: error.message });
  }
});
