// Line icons on a 24 × 24 grid, drawn for this page.

const PATHS = {
  mark: ["M4 9.5 12 4l8 5.5", "M6.5 12.5v5M17.5 12.5v5M4 20h16", "M10 18v-3.5a2 2 0 0 1 4 0V18"],
  menu: ["M4 7h16M4 12h16M4 17h10"],
  close: ["M6 6l12 12M18 6 6 18"],
  plus: ["M12 5v14M5 12h14"],
  send: ["M12 19V5.5M6 11l6-6 6 6"],
  stop: ["M8 8h8v8H8z"],
  attach: ["M19 11.5l-7 7a4.5 4.5 0 0 1-6.4-6.4l7.4-7.4a3 3 0 0 1 4.3 4.3l-7.3 7.2a1.5 1.5 0 0 1-2.1-2.1l6.4-6.4"],
  up: ["M7 14l5-5 5 5"],
  down: ["M12 5v13M6.5 12.5 12 18l5.5-5.5"],
  file: ["M7 3.5h7l4 4V20.5H7z", "M13.5 3.5V8H18"],
  copy: ["M9 9h10v11H9z", "M15 9V4.5H5V15h4"],
  check: ["M5 12.5l4.5 4.5L19 7.5"],
  history: ["M5 12a7 7 0 1 0 2.2-5.1L5 9", "M5 5v4h4", "M12 8.5V12l2.5 2"],
  leave: ["M14 5h5v14h-5", "M4 12h10M10.5 8.5 14 12l-3.5 3.5"],
  language: ["M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17z", "M3.5 12h17", "M12 3.5c5 5 5 12 0 17M12 3.5c-5 5-5 12 0 17"],
  theme_system: ["M12 4a8 8 0 1 0 0 16z", "M12 4a8 8 0 0 1 0 16"],
  theme_light: ["M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8z", "M12 2.5v2M12 19.5v2M2.5 12h2M19.5 12h2M5.3 5.3l1.4 1.4M17.3 17.3l1.4 1.4M5.3 18.7l1.4-1.4M17.3 6.7l1.4-1.4"],
  theme_dark: ["M19.5 14.5A8 8 0 0 1 9.5 4.5a8 8 0 1 0 10 10z"],
};
const SVG = "http://www.w3.org/2000/svg";

export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  for (const [key, value] of [["viewBox", "0 0 24 24"], ["class", `icon icon-${name}`], ["aria-hidden", "true"]]) {
    svg.setAttribute(key, value);
  }
  for (const d of PATHS[name] ?? []) {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("d", d);
    svg.append(path);
  }
  return svg;
}

export function putIcon(node, name) {
  node.querySelector(":scope > svg")?.remove();
  node.prepend(icon(name));
}

export function putIcons(root) {
  for (const node of root.querySelectorAll("[data-icon]")) putIcon(node, node.dataset.icon);
}
