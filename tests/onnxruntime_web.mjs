// Runs an ONNX file by onnxruntime-web's WebAssembly: PACKAGE MODEL IMAGES OUTPUT SHAPE, where IMAGES are raw bytes.
import fs from "node:fs";
import { pathToFileURL } from "node:url";

const [runtime, model, images, output, shape] = process.argv.slice(2);
const dist = pathToFileURL(runtime + "/dist/");
const ort = await import(new URL("ort.wasm.min.mjs", dist));
ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmPaths = dist.href;
ort.env.wasm.wasmBinary = fs.readFileSync(new URL("ort-wasm-simd-threaded.wasm", dist)); // Node fetches no file URLs
const session = await ort.InferenceSession.create(fs.readFileSync(model), { executionProviders: ["wasm"] });
const input = new ort.Tensor("uint8", new Uint8Array(fs.readFileSync(images)), shape.split(",").map(Number));
const results = await session.run({ images: input });
const outputs = session.outputNames.map((name) => [name, { type: results[name].type, data: [...results[name].data] }]);
fs.writeFileSync(output, JSON.stringify(Object.fromEntries(outputs)));
