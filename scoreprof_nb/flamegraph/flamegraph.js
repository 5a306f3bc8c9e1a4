// Zoom and search of a flame graph. svg.py puts this into the SVG; it reads data-* attributes of the root.
(function () {
  const script = document.currentScript;
  const svg = script ? script.closest("svg") : document.documentElement;
  const holder = svg.querySelector(".fg-frames");
  if (!holder) return;
  const CHARACTER_PX = Number(svg.dataset.characterPx), MIN_CHARACTERS = Number(svg.dataset.minCharacters);
  const ROUNDING_PX = 0.01;
  const frames = Array.from(holder.children, (g) => {
    const rect = g.querySelector("rect");
    const [x, y, width] = ["x", "y", "width"].map((name) => Number(rect.getAttribute(name)));
    const label = g.querySelector("title").textContent.split("\n")[0];
    return { g, rect, x, y, width, label, component: g.dataset.component };
  });
  const root = frames[0];
  const within = (inner, outer) =>
    inner.x >= outer.x - ROUNDING_PX && inner.x + inner.width <= outer.x + outer.width + ROUNDING_PX;

  function place(frame, x, width) {
    frame.g.removeAttribute("display");
    frame.rect.setAttribute("x", x);
    frame.rect.setAttribute("width", width);
    let text = frame.g.querySelector("text");
    if (!text) {
      text = document.createElementNS(svg.namespaceURI, "text");
      text.setAttribute("y", frame.y + 12);
      frame.g.appendChild(text);
    }
    const room = Math.floor((width - 4) / CHARACTER_PX), letters = Array.from(frame.label);
    text.setAttribute("x", x + 3);
    text.textContent = letters.length <= room ? frame.label
      : room < MIN_CHARACTERS ? "" : letters.slice(0, room - 1).join("") + "…";
  }

  function zoom(target) {
    const scale = root.width / target.width;
    for (const frame of frames) {
      const below = frame.y > target.y && within(target, frame);
      frame.g.classList.toggle("fg-below", below);
      if (below) place(frame, root.x, root.width);
      else if (frame.y <= target.y && within(frame, target))
        place(frame, root.x + (frame.x - target.x) * scale, frame.width * scale);
      else frame.g.setAttribute("display", "none");
    }
  }

  function search(pattern) {
    let wanted;
    try { wanted = new RegExp(pattern); } catch (error) {
      svg.querySelector(".fg-found").textContent = "not a regular expression";
      return;
    }
    mark(pattern, (frame) => wanted.test(frame.label));
  }

  function mark(pattern, isHit) {
    const result = svg.querySelector(".fg-found");
    const hits = new Set(frames.filter((frame) => pattern && isHit(frame)));
    for (const frame of frames) frame.g.classList.toggle("fg-hit", hits.has(frame));
    holder.classList.toggle("fg-searched", hits.size > 0);
    let width = 0, end = -1;
    for (const hit of [...hits].sort((a, b) => a.x - b.x || b.width - a.width)) {
      if (hit.x + hit.width <= end + ROUNDING_PX) continue;  // inside another hit: already counted
      width += hit.width;
      end = hit.x + hit.width;
    }
    result.textContent = pattern
      ? "found in " + (100 * width / root.width).toFixed(2) + " % of the total" : "";
  }

  for (const frame of frames) frame.g.addEventListener("click", () => zoom(frame));
  svg.querySelector(".fg-reset").addEventListener("click", () => zoom(root));
  svg.querySelector(".fg-search").addEventListener("click", () => {
    const pattern = prompt("Search frames (regular expression; empty to clear):", "");
    if (pattern !== null) search(pattern);
  });
  svg.querySelector(".fg-controls").setAttribute("visibility", "visible");
  // For a page with controls of its own: the detail is a pattern, a component, or a thread (a frame above the root).
  svg.addEventListener("fg:search", (event) => search(event.detail));
  svg.addEventListener("fg:component", (event) => mark(event.detail, (frame) => frame.component === event.detail));
  svg.addEventListener("fg:zoom", (event) =>
    zoom(frames.find((frame) => frame.label === event.detail && frame.y > root.y - 20 && frame !== root) || root));
})();
