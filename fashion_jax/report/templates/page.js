// The heat maps of the galleries come and go with their switch.
for (const toggle of document.querySelectorAll(".show-heat")) {
  const show = () => document.body.classList.toggle("explained", toggle.checked);
  toggle.addEventListener("change", show);
  show(); // a browser keeps the switch when a page is loaded again
}

// A closed part of the page is part of the print, too.
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((part) => (part.open = true)));
