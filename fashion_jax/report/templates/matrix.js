// Confusion matrices: an SVG with one path for each shade, however many cells there are, so that 150 classes are quick.

const SHADES = 12;
const MAX_COUNTED = 30; // classes, up to which the counts are printed

function svgElement(tag, attributes, text = "") {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  Object.entries(attributes).forEach(([name, value]) => element.setAttribute(name, value));
  element.textContent = text;
  return element;
}

function htmlElement(tag, attributes, text = "") {
  const element = Object.assign(document.createElement(tag), attributes);
  element.textContent = text;
  return element;
}

function cellSize(classes) {
  return classes <= 12 ? 32 : classes <= MAX_COUNTED ? 24 : classes <= 70 ? 14 : classes <= 200 ? 10 : 4;
}

// The classes of a matrix in the order in which they are shown.
function orderOf(data, by) {
  const order = data.names.map((_, k) => k);
  if (by === "name") return order.sort((a, b) => data.names[a].localeCompare(data.names[b]));
  if (by !== "errors") return order;
  const wrong = data.names.map(() => 0);
  data.cells.forEach(([row, column, count]) => (wrong[row] += row === column ? 0 : count));
  return order.sort((a, b) => wrong[b] - wrong[a]);
}

// By the square root, so that a confusion of a few per cent is visible.
function shadeOf(share) {
  return Math.max(1, Math.round(SHADES * Math.sqrt(share)));
}

function drawCells(group, data, place, size) {
  const paths = {};
  for (const [row, column, count] of data.cells) {
    const name = `s${shadeOf(count / data.support[row])}${row === column ? " right" : ""}`;
    paths[name] = `${paths[name] ?? ""}M${place[column] * size} ${place[row] * size}h${size}v${size}h-${size}z`;
  }
  Object.entries(paths).forEach(([name, d]) => group.append(svgElement("path", { class: name, d })));
  if (data.names.length > MAX_COUNTED) return;
  for (const [row, column, count] of data.cells) {
    const x = (place[column] + 0.5) * size;
    const y = (place[row] + 0.5) * size + 4;
    group.append(svgElement("text", { class: `t${shadeOf(count / data.support[row])}`, x, y, "text-anchor": "middle" }, count));
  }
}

function drawNames(svg, data, order, size, margin, top) {
  order.forEach((k, i) => {
    const middle = (i + 0.5) * size + 4;
    const turned = `translate(${margin + middle} ${top - 6}) rotate(-90)`;
    svg.append(svgElement("text", { x: margin - 6, y: top + middle, "text-anchor": "end" }, data.labels[k]));
    svg.append(svgElement("text", { transform: turned }, data.labels[k]));
  });
}

// The lines between the groups, where the classes are in the order of their groups.
function separators(data, order, size) {
  const side = order.length * size;
  const places = order.map((k, i) => (i && data.parents[k] !== data.parents[order[i - 1]] ? i * size : 0)).filter(Boolean);
  return places.map((place) => `M${place} 0V${side}M0 ${place}H${side}`).join("");
}

function describeCell(data, counts, row, column) {
  const count = counts.get(row * data.names.length + column) ?? 0;
  const support = data.support[row];
  const what = row === column ? `${data.names[row]}, called so` : `${data.names[row]}, taken for ${data.names[column]}`;
  const share = support ? ` (${((100 * count) / support).toFixed(1)} %)` : "";
  return `${what}: ${count.toLocaleString("en")} of ${support.toLocaleString("en")}${share}`;
}

class Matrix {
  constructor(box) {
    const { cells, ...data } = JSON.parse(box.querySelector("script").textContent);
    this.data = data;
    data.cells = [];
    for (let i = 0; i < cells.length; i += 3) data.cells.push(cells.slice(i, i + 3));
    this.links = new Map(data.links.map(([row, column, anchor]) => [row * data.names.length + column, anchor]));
    this.counts = new Map(data.cells.map(([row, column, count]) => [row * data.names.length + column, count]));
    this.box = box;
    this.size = cellSize(data.names.length);
    this.margin = Math.round(data.margin * (this.size > 10 ? 6.4 : 5.2)) + 14;
    this.top = data.labels.length ? this.margin : 20;
    this.addControls();
    this.draw("group");
  }

  addControls() {
    const label = htmlElement("label", {}, "Sort by ");
    const select = htmlElement("select", {});
    const nested = this.data.parents.some(Boolean);
    for (const [value, text] of [["group", nested ? "group" : "given order"], ["errors", "errors"], ["name", "name"]])
      select.append(htmlElement("option", { value }, text));
    select.addEventListener("change", () => this.draw(select.value));
    label.append(select);
    const controls = htmlElement("div", { className: "controls" });
    this.reading = htmlElement("output", { className: "reading" }, "Point at a cell or tap it, or move with the arrow keys.");
    this.link = htmlElement("a", { hidden: true }, "Show its images");
    controls.append(label, this.reading, this.link);
    this.scroll = htmlElement("div", { className: "scroll" });
    this.tooltip = htmlElement("div", { className: "tooltip", hidden: true });
    this.box.append(controls, this.scroll, this.tooltip);
    addEdges(this.scroll);
    document.addEventListener("pointerdown", (event) => this.scroll.contains(event.target) || this.leave());
  }

  draw(by) {
    const { data, size, margin, top } = this;
    this.order = orderOf(data, by);
    const side = size * this.order.length;
    const place = new Array(this.order.length);
    this.order.forEach((k, i) => (place[k] = i));
    this.place = place;
    const label = `${this.box.dataset.title}, ${this.order.length} classes: arrow keys move from cell to cell`;
    const [width, height] = [margin + side + 2, top + side + 2];
    const frame = { width, height, viewBox: `0 0 ${width} ${height}`, class: `c${size}` };
    const svg = svgElement("svg", { ...frame, tabindex: 0, role: "application", "aria-label": label });
    if (data.labels.length) drawNames(svg, data, this.order, size, margin, top);
    const group = svgElement("g", { transform: `translate(${margin} ${top})` });
    const empty = this.order.map((k, i) => (data.support[k] ? "" : `M0 ${i * size}h${side}v${size}h-${side}z`)).join("");
    group.append(svgElement("path", { class: "empty", d: empty }));
    drawCells(group, data, place, size);
    if (by === "group") group.append(svgElement("path", { class: "separator", d: separators(data, this.order, size) }));
    group.append(svgElement("rect", { class: "frame", width: side, height: side }));
    this.cross = svgElement("path", { class: "cross" });
    group.append(this.cross);
    svg.append(group);
    this.listen(svg);
    this.scroll.replaceChildren(svg);
  }

  listen(svg) {
    const point = (event) => {
      const frame = svg.getBoundingClientRect();
      const [x, y] = [event.clientX - frame.left - this.margin, event.clientY - frame.top - this.top];
      const [i, j] = [Math.floor(y / this.size), Math.floor(x / this.size)];
      if (Math.min(i, j) < 0 || Math.max(i, j) >= this.order.length) return this.leave();
      this.tapped = event.type === "pointerdown" && this.at?.[0] === i && this.at?.[1] === j;
      this.show(i, j);
      this.tooltip.hidden = false;
      const left = Math.min(event.clientX + 14, document.documentElement.clientWidth - this.tooltip.offsetWidth - 8);
      this.tooltip.style.left = `${Math.max(left, 4)}px`;
      const below = event.clientY + 18 + this.tooltip.offsetHeight < innerHeight;
      this.tooltip.style.top = `${below ? event.clientY + 18 : event.clientY - 10 - this.tooltip.offsetHeight}px`;
    };
    svg.addEventListener("pointermove", point);
    svg.addEventListener("pointerdown", point);
    svg.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && this.leave());
    svg.addEventListener("click", (event) => this.at && (event.pointerType === "mouse" || this.tapped) && this.follow());
    svg.addEventListener("blur", () => this.leave());
    svg.addEventListener("keydown", (event) => {
      if (event.key === "Enter") this.follow();
      const [i, j] = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key] ?? [0, 0];
      if (!i && !j) return;
      event.preventDefault();
      const last = this.order.length - 1;
      const [row, column] = this.at ?? [0, 0];
      this.show(Math.min(Math.max(row + i, 0), last), Math.min(Math.max(column + j, 0), last));
      this.cross.scrollIntoView({ block: "nearest", inline: "nearest" });
    });
  }

  // Marks a cell by its place and says what is in it.
  show(i, j) {
    this.at = [i, j];
    const { size } = this;
    const side = size * this.order.length;
    this.cross.setAttribute("d", `M0 ${i * size}h${side}v${size}h-${side}zM${j * size} 0v${side}h${size}v-${side}z`);
    const words = describeCell(this.data, this.counts, this.order[i], this.order[j]);
    this.reading.textContent = words;
    const anchor = this.links.get(this.order[i] * this.data.names.length + this.order[j]);
    this.link.hidden = !anchor;
    if (anchor) this.link.href = `#${anchor}`;
    this.tooltip.textContent = anchor ? `${words} – click again or press Enter for its images` : words;
    this.scroll.firstChild.classList.toggle("leads", !!anchor);
  }

  follow() {
    if (!this.link.hidden) this.link.click();
  }

  leave() {
    this.tooltip.hidden = true;
    this.cross.setAttribute("d", "");
    this.at = undefined;
  }
}

for (const box of document.querySelectorAll(".matrix")) {
  const matrix = new Matrix(box);
  for (const item of box.closest(".confusion").querySelectorAll("[data-row]")) {
    const mark = () => matrix.show(matrix.place[item.dataset.row], matrix.place[item.dataset.column]);
    item.addEventListener("pointerenter", mark);
    item.addEventListener("focusin", mark);
    item.addEventListener("pointerleave", () => matrix.leave());
    item.addEventListener("focusout", () => matrix.leave());
  }
}
