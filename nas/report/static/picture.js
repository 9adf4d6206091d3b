// The picture of a sub-network: one row a layer, its heads by KV group, then its neurons; or, where matrices are
// factorised, one bar a matrix.

import { svg } from "./element.js";

const WIDTH = 360;
const HEADS_LEFT = 34;
const HEADS_WIDTH = 130;
const NEURONS_LEFT = 180;
const NEURONS_WIDTH = 142;

export function picture(layers, shape) {
  const pitch = Math.max(8, Math.min(24, 480 / layers.length));
  const image = svg("svg", { viewBox: `0 0 ${WIDTH} ${18 + pitch * layers.length}`, role: "img", class: "picture" });
  image.append(svg("title", {}, layers.map(describeLayer).join("; ")));
  const factorised = layers.some((layer) => layer.ranks);
  image.append(svg("text", { x: 0, y: 10 }, "layer"));
  const headings = [
    svg("text", { x: HEADS_LEFT, y: 10 }, shape.heads_per_group > 1 ? "heads, by KV group" : "heads"),
    svg("text", { x: NEURONS_LEFT, y: 10 }, "neurons"),
  ];
  image.append(...(factorised ? [svg("text", { x: HEADS_LEFT, y: 10 }, "matrices, share of weights")] : headings));
  layers.forEach((layer, index) => {
    const row = svg("g", { transform: `translate(0 ${18 + pitch * index})` });
    row.append(svg("text", { x: HEADS_LEFT - 10, y: pitch / 2 + 2, "text-anchor": "end" }, String(index)));
    row.append(
      ...(factorised
        ? rankBars(layer.ranks, pitch - 4, shape)
        : [...headSquares(layer.heads, pitch - 4, shape), ...neuronStrip(layer, pitch - 4, shape)]),
    );
    image.append(row);
  });
  return image;
}

function describeLayer(layer, index) {
  const heads = [...layer.heads].filter((kept) => kept === "1").length;
  const ranks = layer.ranks ? `, ranks ${layer.ranks.map((rank) => rank || "full").join(" ")}` : "";
  return `layer ${index}: ${heads || "no"} heads, ${layer.neurons || "no"} neurons${ranks}`;
}

// Full where the matrix is not factorised; pointed at, it says its rank.
function rankBars(ranks, height, shape) {
  const pitch = (WIDTH - HEADS_LEFT) / ranks.length;
  return ranks.flatMap((rank, number) => {
    const [name, breakEven] = shape.matrices[number];
    const share = rank ? Math.min(1, rank / breakEven) : 1;
    const box = { x: HEADS_LEFT + number * pitch, y: 0, height };
    const title = svg("title", {}, rank ? `${name}: rank ${rank}` : `${name}: not factorised`);
    return [
      svg("rect", { ...box, width: pitch * 0.9, class: "track" }),
      svg("rect", { ...box, width: pitch * 0.9 * share, class: "neurons" }, title),
    ];
  });
}

function headSquares(heads, height, shape) {
  if (!heads.includes("1")) return dropped(HEADS_LEFT, HEADS_WIDTH, height, "no attention");
  const groups = heads.length / shape.heads_per_group;
  const gap = shape.heads_per_group > 1 ? Math.min(6, (0.25 * HEADS_WIDTH) / groups) : 0;
  const pitch = Math.min(height + 2, (HEADS_WIDTH - gap * (groups - 1)) / heads.length);
  const side = pitch * 0.85;
  return [...heads].map((kept, head) => {
    const x = HEADS_LEFT + head * pitch + gap * Math.floor(head / shape.heads_per_group);
    const box = { x, y: (height - side) / 2, width: side, height: side, rx: side / 8 };
    return svg("rect", { ...box, class: kept === "1" ? "head" : "empty" });
  });
}

// Above, where the kept neurons are, darker for more of a bin; below, how many there are.
function neuronStrip(layer, height, shape) {
  if (!layer.neurons) return dropped(NEURONS_LEFT, NEURONS_WIDTH, height, "no MLP");
  const bin = NEURONS_WIDTH / layer.bins.length;
  const strip = { y: 0, height: height * 0.7, class: "neurons", "shape-rendering": "crispEdges" };
  const share = layer.neurons / shape.neurons;
  return [
    ...runsOf(layer.bins).map(([digit, start, length]) =>
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

function runsOf(text) {
  return [...text.matchAll(/(.)\1*/g)].map((match) => [match[1], match.index, match[0].length]);
}

function dropped(x, width, height, text) {
  const label = svg("text", { x: x + width / 2, y: height / 2 + 3.5, "text-anchor": "middle" }, height < 12 ? "" : text);
  return [svg("rect", { x, y: 0, width, height, rx: 2, class: "dropped" }), label];
}
