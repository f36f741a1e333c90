// Decodes an image file as fashion_jax.data.decoding does: upright, on white, fitted to the canvas by the same filters.

const MOST_PIXELS = 50_000_000;
const MOST_ASPECT = 200;
const ENOUGH = 2; // times the canvas: the minimum size of a JPEG that is decoded at a reduced scale
const STRIP = 1 << 22; // pixels that are read from a canvas at a time

export class Undecodable extends Error {}

// Returns the pixels, height * width * 3 bytes of red, green and blue, on a canvas {height, width}.
export const decode = async (blob, canvas, resize) => {
  const head = new DataView(await blob.slice(0, 1 << 20).arrayBuffer());
  if (!head.byteLength) throw new Undecodable("the file is empty");
  const isJpeg = head.byteLength > 3 && head.getUint32(0) >>> 8 === 0xffd8ff;
  const announced = sizeOf(head, isJpeg);
  if (announced) checkSize(announced);
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none", imageOrientation: "from-image" });
  } catch {
    const why = announced ? "the image is damaged, cut off or of a variety that this browser cannot read" : "this is no image of a kind that this browser can read";
    throw new Undecodable(`${why}: convert it to JPEG or PNG`);
  }
  try {
    checkSize(bitmap);
    const ratio = isJpeg ? reduction(bitmap, canvas) : 1;
    return fit(readPixels(bitmap, ratio), canvas, resize);
  } finally {
    bitmap.close();
  }
};

const checkSize = ({ height, width }) => {
  const count = height * width;
  if (count > MOST_PIXELS)
    throw new Undecodable(`the image has ${count.toLocaleString("en")} pixels, more than ${MOST_PIXELS.toLocaleString("en")}`);
  if (Math.max(height, width) > MOST_ASPECT * Math.min(height, width))
    throw new Undecodable(`the image is a strip of ${width} x ${height} pixels: one side may be ${MOST_ASPECT} x the other`);
};

// Returns the size that the first bytes of a file announce, before anything is decoded; null if they are of another kind.
const sizeOf = (view, isJpeg) => {
  if (isJpeg) return sizeOfJpeg(view);
  if (view.byteLength < 30) return null;
  const start = view.getUint32(0);
  if (start === 0x89504e47) return { width: view.getUint32(16), height: view.getUint32(20) };
  if (start === 0x47494638) return { width: view.getUint16(6, true), height: view.getUint16(8, true) };
  if (start >>> 16 === 0x424d) return { width: Math.abs(view.getInt32(18, true)), height: Math.abs(view.getInt32(22, true)) };
  if (start === 0x52494646 && view.getUint32(8) === 0x57454250) return sizeOfWebp(view);
  return null;
};

const sizeOfJpeg = (view) => {
  for (let at = 2; at + 9 < view.byteLength && view.getUint8(at) === 0xff; ) {
    const marker = view.getUint8(at + 1);
    if (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker))
      return { height: view.getUint16(at + 5), width: view.getUint16(at + 7) };
    at += marker === 0xff ? 1 : 2 + view.getUint16(at + 2);
  }
  return null;
};

const sizeOfWebp = (view) => {
  const kind = view.getUint32(12);
  const three = (at) => view.getUint16(at, true) | (view.getUint8(at + 2) << 16);
  if (kind === 0x56503858) return { width: three(24) + 1, height: three(27) + 1 };
  if (kind === 0x56503820) return { width: view.getUint16(26, true) & 0x3fff, height: view.getUint16(28, true) & 0x3fff };
  const bits = view.getUint32(21, true);
  return { width: (bits & 0x3fff) + 1, height: ((bits >>> 14) & 0x3fff) + 1 };
};

// Returns the scale at which the decoder of training would read a JPEG: 1 / 8, 1 / 4, 1 / 2 or 1.
const reduction = ({ height, width }, canvas) =>
  [8, 4, 2].find((ratio) => Math.floor(height / (ENOUGH * canvas.height)) >= ratio && Math.floor(width / (ENOUGH * canvas.width)) >= ratio) ?? 1;

// Returns an image on white, reduced by the mean of ratio x ratio pixels. It is read in strips, since a phone has no
// canvas for a whole photograph.
const readPixels = (bitmap, ratio) => {
  const { height, width } = bitmap;
  const reduced = image(Math.ceil(height / ratio), Math.ceil(width / ratio));
  const rows = Math.min(Math.max(Math.floor(STRIP / width / ratio), 1) * ratio, height);
  const strip = new OffscreenCanvas(width, rows);
  const context = strip.getContext("2d", { willReadFrequently: true, alpha: false });
  for (let top = 0; top < height; top += rows) {
    const count = Math.min(rows, height - top);
    context.fillStyle = "white";
    context.fillRect(0, 0, width, rows);
    context.drawImage(bitmap, 0, -top);
    average(context.getImageData(0, 0, width, count), reduced, top / ratio, ratio);
  }
  return reduced;
};

const image = (height, width) => ({ height, width, data: new Uint8ClampedArray(height * width * 3) });

// Writes the means of blocks of a strip (red, green, blue, alpha) into an image, from its row `first` on.
const average = (strip, into, first, ratio) => {
  const { data, height, width } = strip;
  const area = ratio * ratio;
  for (let row = 0; row * ratio < height; row++)
    for (let column = 0; column < into.width; column++) {
      let red = 0;
      let green = 0;
      let blue = 0;
      for (let y = row * ratio; y < (row + 1) * ratio; y++)
        for (let x = column * ratio; x < (column + 1) * ratio; x++) {
          const at = 4 * (Math.min(y, height - 1) * width + Math.min(x, width - 1));
          red += data[at];
          green += data[at + 1];
          blue += data[at + 2];
        }
      const at = 3 * ((first + row) * into.width + column);
      into.data[at] = red / area;
      into.data[at + 1] = green / area;
      into.data[at + 2] = blue / area;
    }
};

// Fits pixels to the canvas: "crop" cuts the longer side, "letterbox" pads the shorter one, "stretch" changes the aspect.
export const fit = (pixels, canvas, resize) => {
  if (resize === "stretch") return resized(pixels, canvas).data;
  const ratios = [canvas.height / pixels.height, canvas.width / pixels.width];
  const ratio = resize === "crop" ? Math.max(...ratios) : Math.min(...ratios);
  const size = { height: Math.max(roundHalfEven(pixels.height * ratio), 1), width: Math.max(roundHalfEven(pixels.width * ratio), 1) };
  const shrunk = resized(pixels, size);
  const into = image(canvas.height, canvas.width);
  into.data.fill(255);
  const top = Math.floor((canvas.height - size.height) / 2);
  const left = Math.floor((canvas.width - size.width) / 2);
  const [cutTop, cutLeft] = [Math.floor(-Math.min(canvas.height - size.height, 0) / 2), Math.floor(-Math.min(canvas.width - size.width, 0) / 2)];
  for (let y = 0; y < Math.min(size.height, canvas.height); y++) {
    const start = 3 * ((y + cutTop) * size.width + cutLeft);
    const part = shrunk.data.subarray(start, start + 3 * Math.min(size.width, canvas.width));
    into.data.set(part, 3 * ((y + Math.max(top, 0)) * canvas.width + Math.max(left, 0)));
  }
  return into.data;
};

// Resizes by linear interpolation, after a filter has removed the detail that the new size cannot show; see resized() in
// fashion_jax/data/decoding/resizing.py, whose steps these are.
export const resized = (pixels, size) => {
  const half = {
    height: pixels.height > 4 * size.height ? 2 * size.height : pixels.height,
    width: pixels.width > 4 * size.width ? 2 * size.width : pixels.width,
  };
  let current = along(pixels, half, areaWeights);
  if (current.height > size.height || current.width > size.width) current = along(current, current, (before, after, axis) => smoothWeights(before, size[axis]));
  return along(current, size, linearWeights);
};

// Changes the size of an image by a filter along each axis. `weightsOf` returns for each new pixel its first old pixel and
// the weights from there on; old pixels beyond the edge count as those at the edge.
const along = (pixels, size, weightsOf) => {
  const rows = weightsOf(pixels.height, size.height, "height");
  const columns = weightsOf(pixels.width, size.width, "width");
  if (!rows && !columns) return pixels;
  const narrow = columns ? filteredColumns(pixels, columns) : { ...pixels, data: Float32Array.from(pixels.data) };
  const tall = rows ? filteredRows(narrow, rows) : narrow;
  return { ...tall, data: Uint8ClampedArray.from(tall.data) };
};

const filteredColumns = ({ height, width, data }, filters) => {
  const result = new Float32Array(height * filters.length * 3);
  for (let y = 0; y < height; y++)
    filters.forEach(({ first, weights }, x) => {
      let red = 0;
      let green = 0;
      let blue = 0;
      for (let i = 0; i < weights.length; i++) {
        const at = 3 * (y * width + Math.min(Math.max(first + i, 0), width - 1));
        red += weights[i] * data[at];
        green += weights[i] * data[at + 1];
        blue += weights[i] * data[at + 2];
      }
      const at = 3 * (y * filters.length + x);
      result[at] = red;
      result[at + 1] = green;
      result[at + 2] = blue;
    });
  return { height, width: filters.length, data: result };
};

const filteredRows = ({ height, width, data }, filters) => {
  const result = new Float32Array(filters.length * width * 3);
  filters.forEach(({ first, weights }, y) => {
    for (let i = 0; i < weights.length; i++) {
      const from = 3 * width * Math.min(Math.max(first + i, 0), height - 1);
      const to = 3 * width * y;
      for (let k = 0; k < 3 * width; k++) result[to + k] += weights[i] * data[from + k];
    }
  });
  return { height: filters.length, width, data: result };
};

// Each new pixel is the mean over its area.
const areaWeights = (before, after) => {
  if (before === after) return null;
  const scale = before / after;
  return Array.from({ length: after }, (_, i) => {
    const [start, end] = [i * scale, Math.min((i + 1) * scale, before)];
    const first = Math.floor(start);
    const weights = [];
    for (let at = first; at < end; at++) weights.push((Math.min(at + 1, end) - Math.max(at, start)) / scale);
    return { first, weights };
  });
};

// Blurs as much as linear interpolation lacks when it shrinks `before` pixels to `after`.
const smoothWeights = (before, after) => {
  const scale = before / after;
  const variance = Math.max(scale * scale - 1, 0) / 6;
  const p = (variance % 0.5) / 2;
  let weights = [p, 1 - 2 * p, p];
  for (let i = 0; i < Math.floor(variance / 0.5); i++) weights = convolved(weights, [0.25, 0.5, 0.25]);
  weights = weights.map((weight) => roundHalfEven(256 * weight));
  const middle = (weights.length - 1) / 2;
  weights[middle] += 256 - weights.reduce((sum, weight) => sum + weight, 0);
  const exact = weights.map((weight) => weight / 256);
  return Array.from({ length: before }, (_, i) => ({ first: i - middle, weights: exact }));
};

const convolved = (a, b) => {
  const result = new Array(a.length + b.length - 1).fill(0);
  a.forEach((x, i) => b.forEach((y, k) => (result[i + k] += x * y)));
  return result;
};

const linearWeights = (before, after) => {
  if (before === after) return null;
  const scale = before / after;
  return Array.from({ length: after }, (_, i) => {
    const center = (i + 0.5) * scale - 0.5;
    const first = Math.floor(center);
    return { first, weights: [1 - (center - first), center - first] };
  });
};

const roundHalfEven = (value) => {
  const rounded = Math.round(value);
  return Math.abs(value % 1) === 0.5 && rounded % 2 ? rounded - 1 : rounded;
};
