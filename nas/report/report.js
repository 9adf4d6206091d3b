"use strict";

(() => {
  const data = JSON.parse(document.getElementById("report-data").textContent);
  const panel = document.getElementById("panel");
  const frontChart = document.getElementById("front-chart");
  const rows = [...document.querySelectorAll("#front-table tbody tr")];
  const axes = { x: data.x, y: data.y };
  const STATES = {
    front: "on the front",
    feasible: "dominated",
    infeasible: "outside the budget",
    partial: "judged on fewer examples",
    failed: "failed",
    supernet: "nothing removed",
  };
  const SYMBOLS = { feasible: "circle", infeasible: "circle-open", partial: "diamond", failed: "x-thin-open" };
  let shown = null;
  let pinned = false;
  // Focus may scroll the page, and what then comes to lie under a resting pointer is not pointed at.
  let byKeyboard = false;

  // --- The page's own elements: text goes in as text, never as markup. ---

  function element(tag, attributes = {}, ...children) {
    return fill(document.createElement(tag), attributes, children);
  }

  function svg(tag, attributes = {}, ...children) {
    return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
  }

  function fill(node, attributes, children) {
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.append(...children);
    return node;
  }

  // --- The picture of a sub-network: one row a layer, its heads by KV group, then its neurons. ---

  const WIDTH = 360;
  const HEADS_LEFT = 34;
  const HEADS_WIDTH = 130;
  const NEURONS_LEFT = 180;
  const NEURONS_WIDTH = 142;

  function picture(layers) {
    const pitch = Math.max(8, Math.min(24, 480 / layers.length));
    const image = svg("svg", { viewBox: `0 0 ${WIDTH} ${18 + pitch * layers.length}`, role: "img" });
    image.append(svg("title", {}, layers.map(describe).join("; ")));
    image.append(
      svg("text", { x: 0, y: 10 }, "layer"),
      svg("text", { x: HEADS_LEFT, y: 10 }, data.shape.heads_per_group > 1 ? "heads, by KV group" : "heads"),
      svg("text", { x: NEURONS_LEFT, y: 10 }, "neurons"),
    );
    layers.forEach((layer, index) => {
      const row = svg("g", { transform: `translate(0 ${18 + pitch * index})` });
      row.append(svg("text", { x: HEADS_LEFT - 10, y: pitch / 2 + 2, "text-anchor": "end" }, String(index)));
      row.append(...headSquares(layer.heads, pitch - 4), ...neuronStrip(layer, pitch - 4));
      image.append(row);
    });
    return image;
  }

  function describe(layer, index) {
    const heads = [...layer.heads].filter((kept) => kept === "1").length;
    return `layer ${index}: ${heads || "no"} heads, ${layer.neurons || "no"} neurons`;
  }

  function headSquares(heads, height) {
    if (!heads.includes("1")) return dropped(HEADS_LEFT, HEADS_WIDTH, height, "no attention");
    const groups = heads.length / data.shape.heads_per_group;
    const gap = data.shape.heads_per_group > 1 ? Math.min(6, (0.25 * HEADS_WIDTH) / groups) : 0;
    const pitch = Math.min(height + 2, (HEADS_WIDTH - gap * (groups - 1)) / heads.length);
    const side = pitch * 0.85;
    return [...heads].map((kept, head) => {
      const x = HEADS_LEFT + head * pitch + gap * Math.floor(head / data.shape.heads_per_group);
      const box = { x, y: (height - side) / 2, width: side, height: side, rx: side / 8 };
      return svg("rect", { ...box, class: kept === "1" ? "head" : "empty" });
    });
  }

  // Above, where the kept neurons are, darker for more of a bin; below, how many there are.
  function neuronStrip(layer, height) {
    if (!layer.neurons) return dropped(NEURONS_LEFT, NEURONS_WIDTH, height, "no MLP");
    const bin = NEURONS_WIDTH / layer.bins.length;
    const strip = { y: 0, height: height * 0.7, class: "neurons", "shape-rendering": "crispEdges" };
    const share = layer.neurons / data.shape.neurons;
    return [
      ...runs(layer.bins).map(([digit, start, length]) =>
        svg("rect", {
          ...strip,
          x: NEURONS_LEFT + start * bin,
          width: length * bin,
          "fill-opacity": parseInt(digit, 16) / 15,
        }),
      ),
      svg("rect", { x: NEURONS_LEFT, y: 0, width: NEURONS_WIDTH, height: height * 0.7, class: "empty" }),
      svg("rect", { x: NEURONS_LEFT, y: height * 0.82, width: NEURONS_WIDTH, height: height * 0.18, class: "track" }),
      svg("rect", {
        x: NEURONS_LEFT,
        y: height * 0.82,
        width: NEURONS_WIDTH * share,
        height: height * 0.18,
        class: "neurons",
      }),
      svg("text", { x: WIDTH, y: height / 2 + 4, "text-anchor": "end" }, String(layer.neurons)),
    ];
  }

  function runs(text) {
    return [...text.matchAll(/(.)\1*/g)].map((match) => [match[1], match.index, match[0].length]);
  }

  function dropped(x, width, height, text) {
    const label = svg(
      "text",
      { x: x + width / 2, y: height / 2 + 3.5, "text-anchor": "middle" },
      height < 12 ? "" : text,
    );
    return [svg("rect", { x, y: 0, width, height, rx: 2, class: "dropped" }), label];
  }

  // --- The panel: what is pointed at. ---

  function show(index) {
    shown = index;
    const point = data.points[index];
    const children = [
      element("h2", {}, point.title, element("span", { class: "state" }, `${point.source}, ${STATES[point.state]}`)),
      numbers(point),
      element(
        "div",
        { class: "note" },
        `Kept: ${Object.entries(point.kept)
          .map(([unit, share]) => `${unit} ${share}`)
          .join(", ")}`,
      ),
      picture(point.layers),
    ];
    if (point.reason) children.splice(1, 0, element("p", {}, point.reason));
    if (point.command) children.push(command(point.command));
    const hint = pinned ? "Pinned. Esc, or another click on it, lets go." : "Point at another; click or Enter pins.";
    panel.replaceChildren(...children, element("p", { class: "hint" }, hint));
    rows.forEach((row) => row.classList.toggle("shown", Number(row.dataset.index) === index));
    markShown();
  }

  function numbers(point) {
    const lines = Object.entries(point.readings).map(([name, reading]) =>
      element(
        "tr",
        {},
        element("td", {}, data.quantities[name].title),
        element("td", { class: "number" }, [reading.text, ...reading.flags].join(", ")),
        element("td", { class: "number" }, point.number === null ? "" : (reading.ratio ?? "")),
      ),
    );
    if (point.fidelity < 1)
      lines.push(
        element("tr", {}, element("td", { colspan: 3 }, `on ${Math.round(point.fidelity * 100)} % of the examples`)),
      );
    const heading = ["", "measured", "of supernet"].map((text) => element("th", { class: "number" }, text));
    return element("table", {}, element("tr", {}, ...heading), ...lines);
  }

  // A line may break between words, not inside ``--out``.
  function command(text) {
    return element("code", {}, ...text.split(" ").flatMap((word) => [element("span", {}, word), " "]));
  }

  function preview(index) {
    if (!pinned && index !== shown) show(index);
  }

  function hover(index) {
    if (!byKeyboard) preview(index);
  }

  function togglePin(index) {
    pinned = !(pinned && index === shown);
    show(index);
  }

  function release() {
    pinned = false;
    show(shown);
  }

  // --- Charts. ---

  // Plotly reads a few tags in its texts.
  const plain = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const value = (point, axis) => point.readings[axes[axis]]?.value ?? null;
  const isPlotted = (point) => value(point, "x") !== null && value(point, "y") !== null;
  const config = {
    displaylogo: false,
    responsive: true,
    modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
  };

  function trace(points, extra) {
    return {
      type: "scatter",
      mode: "markers",
      x: points.map((point) => value(point, "x")),
      y: points.map((point) => value(point, "y")),
      customdata: points.map((point) => data.points.indexOf(point)),
      text: points.map((point) => plain(`${point.title}, ${point.source}`)),
      hovertemplate: "%{text}<extra></extra>",
      ...extra,
    };
  }

  function errorBars(points, axis) {
    const readings = points.map((point) => point.readings[axes[axis]]);
    const distance = (bound) =>
      readings.map((reading) => (reading[bound] === null ? 0 : Math.abs(reading[bound] - reading.value)));
    return {
      type: "data",
      symmetric: false,
      array: distance("high"),
      arrayminus: distance("low"),
      color: style("--faint-ink"),
      thickness: 1,
      width: 3,
    };
  }

  function frontTraces() {
    const plotted = data.points.filter(isPlotted);
    const others = plotted.filter((point) => point.state in SYMBOLS);
    const members = plotted.filter((point) => point.state === "front").sort((a, b) => value(a, "x") - value(b, "x"));
    const isPlanar =
      data.objectives.length === 2 && data.objectives.every((name) => Object.values(axes).includes(name));
    const paint = (points) => points.map((point) => data.colours[point.source]);
    return [
      trace(others, {
        marker: {
          size: 8,
          opacity: Number(style("--faintness")),
          color: paint(others),
          symbol: others.map((point) => SYMBOLS[point.state]),
          line: { width: 1.5 },
        },
      }),
      trace(members, {
        mode: isPlanar ? "lines+markers" : "markers",
        // A staircase: between two members, only the cheaper one is to be had.
        line: {
          shape: data.quantities[axes.x].direction === "minimize" ? "hv" : "vh",
          color: style("--ink"),
          width: 1.5,
        },
        marker: { size: 12, opacity: 1, color: paint(members), line: { color: style("--ink"), width: 1.5 } },
        error_x: errorBars(members, "x"),
        error_y: errorBars(members, "y"),
      }),
      trace(
        plotted.filter((point) => point.state === "supernet"),
        { marker: { size: 17, symbol: "star", color: style("--ink") } },
      ),
      trace([], {
        hoverinfo: "skip",
        hovertemplate: null,
        marker: { size: 22, symbol: "circle-open", color: style("--ink"), line: { width: 2 } },
      }),
    ];
  }

  function markShown() {
    const point = data.points[shown];
    const ring = isPlotted(point) ? [[value(point, "x")], [value(point, "y")]] : [[], []];
    Plotly.restyle(frontChart, { x: [ring[0]], y: [ring[1]] }, [3]);
  }

  function axisLayout(title, extra = {}) {
    return { title: { text: plain(title) }, gridcolor: style("--line"), zeroline: false, automargin: true, ...extra };
  }

  function quantityAxis(name) {
    const quantity = data.quantities[name];
    const better = { minimize: ", lower is better", maximize: ", higher is better" }[quantity.direction] ?? "";
    return axisLayout(quantity.label + better, quantity.logarithmic ? { type: "log", dtick: "D2" } : {});
  }

  function layout(extra) {
    return {
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: style("--faint-ink") },
      margin: { l: 50, r: 16, t: 24, b: 44 },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: style("--line"), activecolor: style("--faint-ink") },
      showlegend: false,
      hovermode: "closest",
      ...extra,
    };
  }

  function budgetLines() {
    const line = { color: style("--budget"), width: 1.5, dash: "dash" };
    const across = { x: { yref: "paper", y0: 0, y1: 1 }, y: { xref: "paper", x0: 0, x1: 1 } };
    return ["x", "y"].flatMap((axis) => {
      const { budget } = data.quantities[axes[axis]];
      return budget === null
        ? []
        : [{ type: "line", line, [`${axis}0`]: budget, [`${axis}1`]: budget, ...across[axis] }];
    });
  }

  function drawFront() {
    Plotly.react(
      frontChart,
      frontTraces(),
      layout({ xaxis: quantityAxis(axes.x), yaxis: quantityAxis(axes.y), shapes: budgetLines() }),
      config,
    );
  }

  function drawHypervolume() {
    const by = document.getElementById("hypervolume-x");
    const x = by.value === "trials" ? data.hypervolume.map((_, index) => index + 1) : data.elapsed_s;
    const line = {
      x,
      y: data.hypervolume,
      type: "scatter",
      mode: "lines",
      line: { shape: "hv", color: style("--heads"), width: 2 },
    };
    const axisTitle = by.selectedOptions[0].text;
    Plotly.react(
      "hypervolume-chart",
      [line],
      layout({
        xaxis: axisLayout(axisTitle),
        yaxis: axisLayout("hypervolume", { exponentformat: "e", rangemode: "tozero" }),
      }),
      config,
    );
  }

  function draw() {
    drawFront();
    drawHypervolume();
    markShown();
  }

  // --- The table. ---

  function sortBy(header) {
    const column = header.cellIndex;
    const order = header.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    const key = (row) => row.cells[column].dataset.value;
    rows.sort((a, b) => order * key(a).localeCompare(key(b), "en", { numeric: false }));
    if (header.classList.contains("number") || column === 0)
      rows.sort((a, b) => order * (Number(key(a)) - Number(key(b))));
    for (const other of header.parentNode.cells) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", order === 1 ? "ascending" : "descending");
    document.querySelector("#front-table tbody").append(...rows);
  }

  // --- Events. ---

  shown = data.first;
  draw();
  show(shown);
  frontChart.on("plotly_hover", (event) => hover(event.points[0].customdata));
  frontChart.on("plotly_click", (event) => togglePin(event.points[0].customdata));
  for (const row of rows) {
    const index = Number(row.dataset.index);
    row.addEventListener("focus", () => {
      byKeyboard = true;
      preview(index);
    });
    row.addEventListener("mouseenter", () => hover(index));
    row.addEventListener("click", () => {
      togglePin(index);
      panel.scrollIntoView({ block: "nearest", behavior: "smooth" });
    });
    row.addEventListener("keydown", (event) => {
      if (event.key === "Enter") togglePin(index);
    });
  }
  const onMove = (event) => {
    if (event.movementX || event.movementY) byKeyboard = false;
  };
  document.addEventListener("mousemove", onMove, { capture: true });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") release();
  });
  for (const button of document.querySelectorAll("#front-table th button")) {
    button.addEventListener("click", () => sortBy(button.parentNode));
  }
  for (const axis of ["x", "y"]) {
    document.getElementById(`axis-${axis}`)?.addEventListener("change", (event) => {
      axes[axis] = event.target.value;
      draw();
    });
  }
  document.getElementById("hypervolume-x").addEventListener("change", drawHypervolume);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
})();
