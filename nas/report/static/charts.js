// Charts by Plotly (a global of the page), in the colours of the style sheet.

const SYMBOLS = { feasible: "circle", infeasible: "circle-open", partial: "diamond", failed: "x-thin-open" };

export const CHART_CONFIG = {
  displaylogo: false,
  responsive: true,
  modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
};

// Plotly reads a few tags in its texts.
export const plain = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

export const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export const valueOf = (point, name) => point.readings[name]?.value ?? null;

export const isPlotted = (point, axes) => valueOf(point, axes.x) !== null && valueOf(point, axes.y) !== null;

export function chartLayout(extra) {
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

export function axisLayout(title, extra = {}) {
  // A standoff keeps the title clear of long tick labels.
  return { title: { text: plain(title), standoff: 8 }, gridcolor: style("--line"), zeroline: false, automargin: true, ...extra };
}

// ``values``: what is drawn along it. Over many decades, ticks at 2 and 5 would lie upon each other.
export function quantityAxis(quantity, values) {
  const better = { minimize: ", lower is better", maximize: ", higher is better" }[quantity.direction] ?? "";
  const isWide = Math.max(...values) > 1e3 * Math.min(...values);
  const logarithmic = { type: "log", dtick: isWide ? 1 : "D2" };
  return axisLayout(quantity.label + better, quantity.logarithmic ? logarithmic : {});
}

export function valuesOf(data, name) {
  return data.points.map((point) => valueOf(point, name)).filter((value) => value !== null);
}

// The budget that is drawn across an axis, in the axis's unit.
export function budgetLine(axis, limit) {
  const across = { x: { yref: "paper", y0: 0, y1: 1 }, y: { xref: "paper", x0: 0, x1: 1 } }[axis];
  const line = { color: style("--budget"), width: 1.5, dash: "dash" };
  return { type: "line", line, [`${axis}0`]: limit, [`${axis}1`]: limit, ...across };
}

// A staircase: between two members of a front, only the cheaper one is to be had.
export function staircase(quantity) {
  return quantity.direction === "minimize" ? "hv" : "vh";
}

// The two objectives make the front a line only where they are the axes.
export function isPlanar(data, axes) {
  return data.objectives.length === 2 && data.objectives.every((name) => Object.values(axes).includes(name));
}

export function errorBars(points, name) {
  const readings = points.map((point) => point.readings[name]);
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

// Others, the front, the supernet, and a ring for ``markPoint``. ``stateOf`` tells how each point stands.
export function frontTraces(data, axes, stateOf = (point) => point.state) {
  const plotted = data.points.filter((point) => isPlotted(point, axes));
  const others = plotted.filter((point) => stateOf(point) in SYMBOLS);
  const members = plotted
    .filter((point) => stateOf(point) === "front")
    .sort((a, b) => valueOf(a, axes.x) - valueOf(b, axes.x));
  const supernets = plotted.filter((point) => stateOf(point) === "supernet");
  const indices = new Map(data.points.map((point, index) => [point, index]));
  const paint = (points) => points.map((point) => data.colours[point.source]);
  const trace = (points, extra) => ({
    type: "scatter",
    mode: "markers",
    x: points.map((point) => valueOf(point, axes.x)),
    y: points.map((point) => valueOf(point, axes.y)),
    customdata: points.map((point) => indices.get(point)),
    text: points.map((point) => plain(`${point.title}, ${point.source}`)),
    hovertemplate: "%{text}<extra></extra>",
    ...extra,
  });
  return [
    trace(others, {
      marker: {
        size: 8,
        opacity: Number(style("--faintness")),
        color: paint(others),
        symbol: others.map((point) => SYMBOLS[stateOf(point)]),
        line: { width: 1.5 },
      },
    }),
    trace(members, {
      mode: isPlanar(data, axes) ? "lines+markers" : "markers",
      line: { shape: staircase(data.quantities[axes.x]), color: style("--ink"), width: 1.5 },
      marker: { size: 12, opacity: 1, color: paint(members), line: { color: style("--ink"), width: 1.5 } },
      error_x: errorBars(members, axes.x),
      error_y: errorBars(members, axes.y),
    }),
    trace(supernets, { marker: { size: 17, symbol: "star", color: style("--ink") } }),
    trace([], {
      hoverinfo: "skip",
      hovertemplate: null,
      marker: { size: 22, symbol: "circle-open", color: style("--ink"), line: { width: 2 } },
    }),
  ];
}

const RING = 3;

export function markPoint(chart, axes, point) {
  const has = point !== undefined && isPlotted(point, axes);
  const ring = has ? [[valueOf(point, axes.x)], [valueOf(point, axes.y)]] : [[], []];
  return Plotly.restyle(chart, { x: [ring[0]], y: [ring[1]] }, [RING]);
}

// ``over`` is "trials" or "elapsed_s".
export function drawHypervolume(chart, data, over, title) {
  const x = over === "trials" ? data.hypervolume.map((_, index) => index + 1) : data.elapsed_s;
  const line = {
    x,
    y: data.hypervolume,
    type: "scatter",
    mode: "lines",
    line: { shape: "hv", color: style("--heads"), width: 2 },
  };
  const yaxis = axisLayout("hypervolume", { exponentformat: "e", rangemode: "tozero" });
  return Plotly.react(chart, [line], chartLayout({ xaxis: axisLayout(title), yaxis }), CHART_CONFIG);
}
