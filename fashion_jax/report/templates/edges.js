// What scrolls sideways fades at the edge behind which there is more, with an arrow, until its end is reached.

function addEdges(box) {
  const frame = document.createElement("div");
  frame.className = "edges";
  box.replaceWith(frame);
  frame.append(box);
  const [left, right] = ["left", "right"].map((side) => {
    const edge = document.createElement("span");
    edge.className = `edge ${side}`;
    edge.ariaHidden = "true";
    edge.append(Object.assign(document.createElement("i"), { textContent: side === "left" ? "‹" : "›" }));
    frame.append(edge);
    return edge;
  });
  const update = () => {
    const hidden = box.scrollWidth - box.clientWidth;
    left.hidden = box.scrollLeft < 2;
    right.hidden = box.scrollLeft > hidden - 2;
  };
  box.addEventListener("scroll", update, { passive: true });
  const observer = new ResizeObserver(update);
  observer.observe(box);
  for (const part of box.children) observer.observe(part);
  update();
}

document.querySelectorAll(".scroll").forEach(addEdges);
