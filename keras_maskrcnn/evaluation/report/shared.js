"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const FIGURES = {
  ap: "AP", ap50: "AP50", ap75: "AP75", ap_small: "AP small", ap_medium: "AP medium", ap_large: "AP large",
  ar1: "AR 1 detection", ar10: "AR 10 detections", ar: "AR all detections",
  ar_small: "AR small", ar_medium: "AR medium", ar_large: "AR large",
};
const KINDS = {
  classification: ["#9854e2", "right place, another class"],
  localization: ["#ff961e", "right class, IoU from 0.1 to 0.5"],
  both: ["#f668ba", "another class, and IoU from 0.1 to 0.5"],
  duplicate: ["#327afa", "the object was found by a better detection"],
  background: ["#eb4048", "nothing is annotated there"],
  missed: ["#ac6a3a", "an object that nothing found, nor nearly found"],
};

const $ = (id) => document.getElementById(id);
const percent = (value) => (value === null || Number.isNaN(value) ? "–" : (100 * value).toFixed(1));
// Rounded down, so that what has the score is not below what is shown.
const score = (value) => (value === null ? "–" : (Math.floor(100 * value + 1e-6) / 100).toFixed(2));
const sum = (values) => values.reduce((total, value) => total + value, 0);

/** An element: its attributes, then its children, elements or text. */
function make(tag, attributes = {}, ...children) {
  const isSvg = ["svg", "path", "line", "circle", "rect", "text", "title"].includes(tag);
  const element = isSvg
    ? document.createElementNS("http://www.w3.org/2000/svg", tag)
    : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children.map((child) => (child instanceof Node ? child : String(child))));
  return element;
}

function fill(id, ...children) {
  $(id).replaceChildren(...children);
}

const row = (head, ...cells) =>
  make("tr", {}, make("th", { scope: "row" }, head), ...cells.map(cell));
const cell = (content) => (content instanceof HTMLTableCellElement ? content : make("td", {}, content));
const headings = (...texts) =>
  make("thead", {}, make("tr", {}, ...texts.map((text) => make("th", { scope: "col" }, text))));

function bar(share) {
  const inner = make("i");
  inner.style.width = `${100 * Math.min(1, Math.max(0, share || 0))}%`;
  return make("span", { class: "bar" }, inner);
}

function withBar(value, most = 1) {
  return make("td", {}, percent(value), bar(value / most));
}

const short = (value) => String(Number(value.toPrecision(3)));
const X = (value) => 36 + 270 * value;
const Y = (value) => 210 - 200 * value;

/** Axes from 0 to 1 with these parts on them, which may stand for 0 to `most`. */
function chart(xText, parts, most = { x: 1, y: 1 }) {
  const axes = [0, 0.25, 0.5, 0.75, 1].flatMap((at) => [
    make("path", { class: "axis", d: `M${X(0)} ${Y(at)}H${X(1)}M${X(at)} ${Y(0)}V${Y(1)}` }),
    make("text", { x: X(0) - 5, y: Y(at) + 4, "text-anchor": "end" }, short(at * most.y)),
    make("text", { x: X(at), y: Y(0) + 15, "text-anchor": "middle" }, short(at * most.x)),
  ]);
  const label = make("text", { x: X(0.5), y: Y(0) + 31, "text-anchor": "middle" }, xText);
  return make("svg", { viewBox: "0 0 320 246", role: "img" }, ...axes, label, ...parts);
}

/** A line through points (x, y), broken where a y is null. */
function line(className, points) {
  let pen = "M";
  const path = points.map(([x, y]) => {
    const part = y === null ? "" : `${pen}${X(x).toFixed(1)} ${Y(y).toFixed(1)}`;
    pen = y === null ? "M" : "L";
    return part;
  });
  return make("path", { class: className, d: path.join("") || "M0 0" });
}

function kindMark(name, colour, number = "") {
  const mark = make("span", { class: "kind" }, `${name} ${number}`.trim());
  mark.style.setProperty("--kind", colour);
  return mark;
}

/** The button that turns light to dark and back; it begins as the system is. */
function startTheme() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  let isDark = dark.matches;
  const paint = () => {
    document.documentElement.style.colorScheme = isDark ? "dark" : "light";
    $("theme").textContent = isDark ? "Light" : "Dark";
  };
  $("theme").addEventListener("click", () => { isDark = !isDark; paint(); });
  dark.addEventListener("change", (event) => { isDark = event.matches; paint(); });
  paint();
}
