// Thumbnails open the image in a dialog, with its whole id to copy. An image is embedded once; other places copy it.

for (const copy of document.querySelectorAll("img[data-of]")) copy.src = document.getElementById(copy.dataset.of).src;

class Viewer {
  constructor(dialog) {
    this.dialog = dialog;
    const find = (selector) => dialog.querySelector(selector);
    [this.shown, this.caption, this.id, this.said] = [".shown", ".caption", "code", "output"].map(find);
    [this.previous, this.next, this.position] = [".previous", ".next", ".position"].map(find);
    document.addEventListener("click", (event) => {
      const thumb = event.target.closest("button.thumb");
      if (thumb) this.open(thumb);
    });
    this.previous.addEventListener("click", () => this.show(this.at - 1));
    this.next.addEventListener("click", () => this.show(this.at + 1));
    find(".close").addEventListener("click", () => dialog.close());
    find(".copy").addEventListener("click", () => this.copy());
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
    dialog.addEventListener("close", () => this.opener.focus());
    dialog.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (step) this.show(this.at + step);
    });
  }

  open(thumb) {
    this.opener = thumb;
    this.thumbs = [...thumb.closest(".sheet").querySelectorAll("button.thumb")];
    this.show(this.thumbs.indexOf(thumb));
    this.dialog.showModal();
  }

  show(at) {
    if (at < 0 || at >= this.thumbs.length) return;
    this.at = at;
    const thumb = this.thumbs[at];
    const images = [...thumb.querySelectorAll("img")].filter((image) => image.checkVisibility());
    this.shown.replaceChildren(...images.map(({ src, alt }) => htmlElement("img", { src, alt })));
    this.caption.textContent = thumb.dataset.caption;
    this.id.textContent = thumb.dataset.id;
    this.position.textContent = `${at + 1} of ${this.thumbs.length}`;
    this.previous.disabled = at === 0;
    this.next.disabled = at === this.thumbs.length - 1;
    this.said.textContent = "";
  }

  async copy() {
    let done = false;
    try {
      await navigator.clipboard.writeText(this.id.textContent);
      done = true;
    } catch {
      getSelection().selectAllChildren(this.id); // without the right to the clipboard, as a person would copy it
      done = document.execCommand("copy");
    }
    this.said.textContent = done ? "Copied." : "The id is selected: copy it with the keyboard.";
  }
}

const viewer = document.getElementById("viewer");
if (viewer) new Viewer(viewer);

// A link into a closed part of the page opens it.
function reveal() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  for (let part = target.closest("details"); part; part = part.parentElement.closest("details")) part.open = true;
  target.scrollIntoView();
}
addEventListener("hashchange", reveal);
if (location.hash) reveal();
