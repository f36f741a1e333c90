// Reads the files of a zip in the browser, one after the other, without unpacking it anywhere.

const END = 0x06054b50;
const ENTRY = 0x02014b50;
const LOCAL = 0x04034b50;
const LARGE = 0x06064b50; // zip64
const MOST_FILES = 100_000;

export class BrokenZip extends Error {}

// Returns the entries of a zip: name, and a function that reads the content as a Blob or throws the reason why not.
export const openZip = async (file, mostBytes) => {
  const directory = await readDirectory(file);
  const found = [];
  for (let at = 0; at + 46 <= directory.byteLength && directory.getUint32(at, true) === ENTRY; ) {
    const sizes = [28, 30, 32].map((place) => directory.getUint16(at + place, true));
    const entry = readEntry(directory, at, sizes);
    at += 46 + sizes[0] + sizes[1] + sizes[2];
    if (!isPassedOver(entry.name)) found.push({ name: entry.name, read: () => readContent(file, entry, mostBytes) });
    if (found.length > MOST_FILES) throw new BrokenZip(`the zip has more than ${MOST_FILES.toLocaleString("en")} files`);
  }
  if (!found.length) throw new BrokenZip("the zip has no files");
  return found;
};

const isPassedOver = (name) => name.endsWith("/") || name.split("/").some((part) => part.startsWith(".") || part === "__MACOSX");

const view = async (file, start, end) => new DataView(await file.slice(start, end).arrayBuffer());

const readDirectory = async (file) => {
  const start = Math.max(file.size - 65_557, 0);
  const tail = await view(file, start, file.size);
  let at = tail.byteLength - 22;
  while (at >= 0 && tail.getUint32(at, true) !== END) at--;
  if (at < 0) throw new BrokenZip("this is no zip, or it is cut off");
  let [size, offset] = [tail.getUint32(at + 12, true), tail.getUint32(at + 16, true)];
  if (offset === 0xffffffff || size === 0xffffffff) {
    const locator = await view(file, start + at - 20, start + at);
    const large = await view(file, Number(locator.getBigUint64(8, true)), start + at);
    if (large.byteLength < 56 || large.getUint32(0, true) !== LARGE) throw new BrokenZip("the zip is damaged");
    [size, offset] = [40, 48].map((place) => Number(large.getBigUint64(place, true)));
  }
  if (offset + size > file.size) throw new BrokenZip("the zip is damaged or cut off");
  return view(file, offset, offset + size);
};

const readEntry = (directory, at, [nameLength, extraLength]) => {
  const [flags, method] = [8, 10].map((place) => directory.getUint16(at + place, true));
  const bytes = new Uint8Array(directory.buffer, at + 46, nameLength);
  const name = new TextDecoder(flags & 0x800 || isUtf8(bytes) ? "utf-8" : "latin1").decode(bytes);
  const entry = {
    name,
    method,
    isEncrypted: Boolean(flags & 1),
    packed: directory.getUint32(at + 20, true),
    size: directory.getUint32(at + 24, true),
    offset: directory.getUint32(at + 42, true),
  };
  readLargeSizes(entry, directory, at + 46 + nameLength, extraLength);
  return entry;
};

const isUtf8 = (bytes) => {
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    return true;
  } catch {
    return false;
  }
};

const readLargeSizes = (entry, directory, start, length) => {
  for (let at = start; at + 4 <= start + length; at += 4 + directory.getUint16(at + 2, true)) {
    if (directory.getUint16(at, true) !== 1) continue;
    let place = at + 4;
    for (const name of ["size", "packed", "offset"])
      if (entry[name] === 0xffffffff) {
        entry[name] = Number(directory.getBigUint64(place, true));
        place += 8;
      }
  }
};

const readContent = async (file, { method, isEncrypted, packed, size, offset }, mostBytes) => {
  const tooLarge = `the file has more than ${mostBytes >> 20} MiB`;
  if (isEncrypted) throw new BrokenZip("the file is encrypted");
  if (method !== 0 && method !== 8) throw new BrokenZip("the file is packed in a way that cannot be read");
  if (size > mostBytes) throw new BrokenZip(tooLarge);
  const header = await view(file, offset, offset + 30);
  if (header.byteLength < 30 || header.getUint32(0, true) !== LOCAL) throw new BrokenZip("the zip is damaged here");
  const start = offset + 30 + header.getUint16(26, true) + header.getUint16(28, true);
  const content = file.slice(start, start + packed);
  if (method === 0) return content;
  const parts = [];
  let count = 0;
  try {
    const reader = content.stream().pipeThrough(new DecompressionStream("deflate-raw")).getReader();
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      count += part.value.byteLength;
      if (count > mostBytes) {
        await reader.cancel();
        break;
      }
      parts.push(part.value);
    }
  } catch {
    throw new BrokenZip("the zip is damaged here");
  }
  if (count > mostBytes) throw new BrokenZip(tooLarge);
  return new Blob(parts);
};
