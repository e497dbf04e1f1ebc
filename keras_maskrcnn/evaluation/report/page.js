const names = data.class_names;
const background = names.length;
const state = {
  kind: data.main, step: 0, chosen: -1, sort: "objects", descending: true, filter: "",
};

/** Precision, recall and F1 of these classes together, from a step of the slider up. */
function atStep(classIds, step) {
  const kind = data.kinds[state.kind];
  const right = sum(classIds.map((id) => kind.right[id][step]));
  const wrong = sum(classIds.map((id) => kind.wrong[id][step]));
  const objects = sum(classIds.map((id) => kind.objects[id]));
  return {
    precision: right + wrong ? right / (right + wrong) : null,
    recall: objects ? right / objects : null,
    f1: objects ? (2 * right) / (right + wrong + objects) : null,
  };
}

const chosenClasses = () => (state.chosen < 0 ? [...names.keys()] : [state.chosen]);

function showFigures() {
  const kinds = Object.keys(data.kinds);
  fill("headline", ...["ap", "ap50", "ap75"].map((name) =>
    make("div", {}, `${state.kind} ${FIGURES[name]}`, make("b", {}, percent(data.figures[`${state.kind}_${name}`])))));
  const rows = Object.entries(FIGURES).map(([name, text]) =>
    row(text, ...kinds.map((kind) => percent(data.figures[`${kind}_${name}`]))));
  fill("figures", headings("%", ...kinds), make("tbody", {}, ...rows));
}

function showBar() {
  $("score-value").textContent = (state.step / 100).toFixed(2);
  const { precision, recall, f1 } = atStep([...names.keys()], state.step);
  const shown = { precision, recall, F1: f1 };
  fill("at-score", ...Object.entries(shown).map(([name, value]) =>
    make("div", {}, make("dt", {}, name), make("dd", {}, percent(value)))));
}

const COLUMNS = [
  ["class", "class", (id) => names[id], (value) => value],
  ["objects", "objects", (id) => data.per_class[names[id]].objects, String],
  ["images", "images", (id) => data.per_class[names[id]].images, String],
  ...["ap", "ap50", "ap75"].map((name) => [name, FIGURES[name], (id) => ofClass(id, name), percent]),
  ["score", "best score", (id) => ofClass(id, "score"), score],
  ...["precision", "recall", "f1"].map((name) =>
    [name, name === "f1" ? "F1" : name, (id) => ofClass(id, name), percent]),
  ["f1_now", "F1 at chosen score", (id) => atStep([id], state.step).f1, percent],
];
const ofClass = (id, name) => data.per_class[names[id]][`${state.kind}_${name}`];

function sorted(ids) {
  const value = COLUMNS.find(([key]) => key === state.sort)[2];
  const sign = state.descending ? -1 : 1;
  return ids.sort((a, b) => {
    const [one, other] = [value(a), value(b)];
    if (one === null || other === null) return (one === null) - (other === null);
    return sign * (typeof one === "string" ? one.localeCompare(other) : one - other) || a - b;
  });
}

function showClasses() {
  const head = COLUMNS.map(([key, text]) => {
    const button = make("button", { type: "button" }, text);
    button.addEventListener("click", () => {
      state.descending = state.sort === key ? !state.descending : key !== "class";
      state.sort = key;
      showClasses();
    });
    const order = state.descending ? "descending" : "ascending";
    return make("th", { scope: "col", "data-key": key, ...(state.sort === key && { "aria-sort": order }) }, button);
  });
  const ids = [...names.keys()].filter((id) => names[id].toLowerCase().includes(state.filter));
  const rows = sorted(ids).map((id) => {
    const [name, ...values] = COLUMNS.map(([, , value, format]) => format(value(id)));
    const button = make("button", { type: "button" }, name);
    button.addEventListener("click", () => choose(id));
    return row(button, ...values);
  });
  fill("classes", make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows));
}

function showCurves() {
  const kind = data.kinds[state.kind];
  const ids = chosenClasses().filter((id) => kind.objects[id] > 0);
  const mean = ids.length
    ? kind.precisions[ids[0]].map((_, at) => sum(ids.map((id) => kind.precisions[id][at])) / ids.length)
    : [];
  const now = atStep(chosenClasses(), state.step);
  const dot = now.precision === null || now.recall === null ? []
    : [make("circle", { class: "dot", cx: X(now.recall), cy: Y(now.precision), r: 4 })];
  fill("precision-recall", chart("recall", [line("s1", mean.map((y, at) => [at / 100, y])), ...dot]));
  const steps = Array.from({ length: 101 }, (_, step) => [step / 100, atStep(chosenClasses(), step)]);
  const of = (name) => steps.map(([x, values]) => [x, values[name]]);
  const at = X(state.step / 100);
  fill("by-score", chart("score", [line("s3", of("recall")), line("s2", of("precision")), line("s1", of("f1")),
    make("line", { class: "mark", x1: at, x2: at, y1: Y(0), y2: Y(1) })]));
}

function showErrors() {
  const { errors, error_counts: counts } = data.kinds[state.kind];
  const most = Math.max(0.01, ...Object.values(errors).map((error) => error.cost || 0));
  const rows = Object.entries(KINDS).map(([name, [colour, says]]) =>
    row(kindMark(name, colour), withBar(errors[name].cost, most), counts[name][state.step],
      make("td", { class: "text" }, says)));
  fill("errors", headings("kind", "costs AP50", "errors", ""), make("tbody", {}, ...rows));
}

function confusion() {
  const { confusions, objects } = data.kinds[state.kind];
  const matrix = Array.from({ length: background + 1 }, () => new Array(background + 1).fill(0));
  for (const [annotated, found, step, number] of confusions) {
    if (step >= state.step) matrix[annotated][found] += number;
  }
  objects.forEach((number, id) => { matrix[id][background] = number - sum(matrix[id]); });
  return matrix;
}

/** The cells of the confusion matrix, which is built once: it may have thousands. */
function makeConfusion() {
  const texts = [...names, "background"];
  const cells = texts.map((annotated) => texts.map((found) => make("td", { title: `${annotated} → ${found}` })));
  fill("confusion", headings("", ...texts), make("tbody", {}, ...cells.map((of, i) => row(texts[i], ...of))));
  return cells;
}

function showConfusion() {
  state.cells ??= makeConfusion();
  confusion().forEach((numbers, annotated) => {
    const total = sum(numbers) || 1;
    numbers.forEach((number, found) => {
      const td = state.cells[annotated][found];
      const colour = annotated === found ? "--s1" : "--s3";
      const share = Math.round((70 * number) / total);
      const shown = `${number} ${share}`;
      if (td.dataset.shown === shown) return;
      td.dataset.shown = shown;
      td.textContent = number || "";
      td.style.background = share ? `color-mix(in srgb, var(${colour}) ${share}%, var(--ground))` : "";
    });
  });
}

function showSizes() {
  const of = (name) => data.figures[`${state.kind}_${name}`];
  const sizes = { small: "below 32²", medium: "below 96²", large: "from 96²" };
  const rows = Object.entries(sizes).map(([name, text]) =>
    row(`${name}, ${text}`, withBar(of(`ap_${name}`)), percent(of(`ar_${name}`))));
  fill("sizes", headings("", "AP", "AR"), make("tbody", {}, ...rows));
  const numbers = data.kinds[state.kind].by_objects.map(({ least, most, images, ap }) => {
    const range = most === null ? `${least} or more` : least === most ? least : `${least} to ${most}`;
    return row(range, withBar(ap), images);
  });
  fill("numbers", headings("", "AP", "images"), make("tbody", {}, ...numbers));
}

function showCalibration() {
  const { counts, precisions, error } = data.kinds[state.kind].calibration;
  $("calibration-error").textContent = percent(error);
  const bars = precisions.map((value, bin) => {
    const part = make("rect", {
      class: "fill", x: X(bin / 10) + 1, width: 25, y: Y(value || 0), height: Y(0) - Y(value || 0),
    });
    part.append(make("title", {}, `${counts[bin]} detections, ${percent(value)} % right`));
    return part;
  });
  fill("calibration", chart("score", [...bars, line("mark", [[0, 0], [1, 1]])]));
}

function picture(file, caption) {
  const image = make("img", { src: file, alt: caption, loading: "lazy" });
  return make("figure", {}, image, make("figcaption", {}, caption));
}

function showImages() {
  const best = data.kinds[data.main].score;
  $("worst-says").textContent = data.worst_images.length
    ? best === null
      ? "No detection is right at any score."
      : `Errors of ${data.main === "mask" ? "masks" : "boxes"} from score ${score(best)} up, which serves best for all classes together. Green is right.`
    : "None has any.";
  fill("worst", ...data.worst_images.map((image) => {
    const marks = Object.entries(image.errors).filter(([, number]) => number)
      .map(([name, number]) => kindMark(name, KINDS[name][0], number));
    const shown = Object.entries(image.pictures).map(([what, file]) => picture(file, what));
    const missing = shown.length ? [] : ["The image cannot be read."];
    return make("div", { class: "image" }, make("h3", {}, image.file || image.image_id), ...marks,
      make("div", { class: "pair" }, ...shown, ...missing));
  }));
  const doubts = data.doubtful.filter(({ pictures }) => pictures.found).map((doubt) =>
    picture(doubt.pictures.found, `${doubt.class} ${score(doubt.score)}, ${doubt.file}`));
  fill("doubtful", ...(doubts.length ? doubts : ["Nothing."]));
}

function showMoving() {
  for (const show of [showBar, showClasses, showCurves, showErrors, showConfusion]) show();
}

function showAll() {
  for (const button of $("kinds").children) {
    button.setAttribute("aria-pressed", button.textContent === state.kind);
  }
  for (const show of [showFigures, showMoving, showSizes, showCalibration]) show();
}

function choose(id) {
  state.chosen = id;
  $("class").value = id;
  showCurves();
}

function start() {
  $("source").textContent = `${data.source}: ${data.images} images, ${names.length} classes`;
  document.title = `Report: ${data.source}`;
  fill("kinds", ...Object.keys(data.kinds).map((kind) => {
    const button = make("button", { type: "button" }, kind);
    button.addEventListener("click", () => { state.kind = kind; showAll(); });
    return button;
  }));
  fill("class", make("option", { value: -1 }, "all classes"),
    ...names.map((name, id) => make("option", { value: id }, name)));
  $("class").addEventListener("change", (event) => choose(Number(event.target.value)));
  state.step = Math.floor(100 * (data.kinds[data.main].score ?? 0) + 1e-6);
  $("score").value = state.step;
  $("score").addEventListener("input", (event) => { state.step = Number(event.target.value); showMoving(); });
  $("filter").addEventListener("input", (event) => { state.filter = event.target.value.toLowerCase(); showClasses(); });
  startTheme();
  showAll();
  showImages();
}

start();
