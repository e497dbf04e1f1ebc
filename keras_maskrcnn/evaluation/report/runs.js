const runs = data.runs;
const kinds = ["box", "mask"].filter((kind) => runs.some((run) => run.errors[kind]));
const state = { kind: runs[0].main, column: "" };
const columns = [...new Set(runs.flatMap((run) => Object.keys(run.log)))].filter((name) => name !== "epoch");

/** A row of percentages, the best of them bold. */
function compared(head, values, best) {
  const known = values.filter((value) => typeof value === "number");
  const top = best(...known);
  return row(head, ...values.map((value) =>
    make("td", {}, value === top && known.some((other) => other !== top) ? make("b", {}, percent(value)) : percent(value ?? null))));
}

const table = (id, ...rows) => fill(id, headings("%", ...runs.map((run) => run.name)), make("tbody", {}, ...rows));

function showTables() {
  const { kind } = state;
  table("figures",
    row("images", ...runs.map((run) => run.images)),
    row("annotations", ...runs.map((run) => run.source)),
    ...Object.entries(FIGURES).map(([name, text]) =>
      compared(text, runs.map((run) => run.figures[`${kind}_${name}`]), Math.max)));
  const names = [...new Set(runs.flatMap((run) => run.class_names))];
  table("classes", ...names.map((name) =>
    compared(name, runs.map((run) => run.per_class[name]?.[`${kind}_ap`]), Math.max)));
  table("errors", ...Object.entries(KINDS).map(([name, [colour]]) =>
    compared(kindMark(name, colour), runs.map((run) => run.errors[kind]?.[name].cost), Math.min)));
}

function showTraining() {
  const logs = runs.map((run) => run.log[state.column] ?? []);
  const most = {
    x: Math.max(1, ...logs.map((values) => values.length)),
    y: Math.max(...logs.flat().filter((value) => value !== null), 1e-6),
  };
  const lines = logs.map((values, i) => line(`s${(i % 6) + 1}`,
    values.map((value, epoch) => [(epoch + 1) / most.x, value === null ? null : Math.max(0, value) / most.y])));
  // A single epoch is a point, not a line.
  const dots = logs.flatMap((values, i) => (values.length === 1 && values[0] !== null
    ? [make("circle", { class: `s${(i % 6) + 1}`, cx: X(1 / most.x), cy: Y(values[0] / most.y), r: 3 })] : []));
  fill("training", chart("epoch", [...lines, ...dots], most));
}

function showKind() {
  for (const button of $("kinds").children) {
    button.setAttribute("aria-pressed", button.textContent === state.kind);
  }
  showTables();
}

fill("kinds", ...kinds.map((kind) => {
  const button = make("button", { type: "button" }, kind);
  button.addEventListener("click", () => { state.kind = kind; showKind(); });
  return button;
}));
fill("legend", ...runs.map((run, i) => make("b", { class: `s${(i % 6) + 1}` }, run.name)));
fill("column", ...columns.map((name) => make("option", {}, name)));
state.column = columns.find((name) => name === `val_${state.kind}_ap`) ?? columns[0] ?? "";
$("column").value = state.column;
$("column").addEventListener("change", (event) => { state.column = event.target.value; showTraining(); });
$("differ").hidden = new Set(runs.map((run) => `${run.source} ${run.images}`)).size === 1;
startTheme();
showKind();
showTraining();
