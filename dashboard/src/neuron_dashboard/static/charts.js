// Curves: drawn by uPlot, and as a table for whoever does not see or point.

import uPlot from "./vendor/uPlot.esm.js";
import { html, useEffect, useRef, useState } from "./preact.js";
import { compact, number } from "./format.js";

const TABLE_ROWS = 40;
const SMOOTHED_FROM = 40;
const HEIGHT = 180;
const dark = matchMedia("(prefers-color-scheme: dark)");

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// The exponential mean of what came before, as `neuron-train plot` draws it: gaps count for nothing.
function smoothed(values) {
  const keep = 1 - 2 / (Math.max(2, values.length / 25) + 1);
  let total = 0;
  let weight = 0;
  return values.map((value) => {
    if (value == null) return null;
    total = keep * total + value;
    weight = keep * weight + 1;
    return total / weight;
  });
}

// A dashed line where a run was started again.
function restarts(starts) {
  const draw = (plot) => {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.strokeStyle = colour("--warn");
    ctx.lineWidth = devicePixelRatio;
    ctx.setLineDash([4 * devicePixelRatio, 4 * devicePixelRatio]);
    for (const start of starts) {
      const x = plot.valToPos(start.step, "x", true);
      if (x < bbox.left || x > bbox.left + bbox.width) continue;
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
    }
    ctx.restore();
  };
  return { hooks: { draw: [draw] } };
}

function options(curve, width, starts, isSmoothed, hasValidation) {
  const axis = { stroke: colour("--quiet"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
  const line = colour("--accent");
  const series = [{ label: "step" }, { label: curve.label, stroke: isSmoothed ? colour("--faint") : line, width: isSmoothed ? 1 : 2, spanGaps: false, points: { show: false }, value: (_, v) => number(v) }];
  if (isSmoothed) series.push({ label: "mean", stroke: line, width: 2, points: { show: false }, value: (_, v) => number(v) });
  if (hasValidation) series.push({ label: "validation", stroke: colour("--good"), paths: () => null, points: { show: true, size: 7, fill: colour("--good") }, value: (_, v) => number(v) });
  return {
    width,
    height: HEIGHT,
    series,
    axes: [
      { ...axis, size: 30, values: (_, ticks) => ticks.map((tick) => (Number.isInteger(tick) ? compact(tick) : "")) },
      { ...axis, size: 58, values: (_, ticks) => ticks.map((tick) => (Math.abs(tick) >= 1000 ? compact(tick) : number(tick, 3))) },
    ],
    scales: {
      x: { time: false },
      y: { range: (_, low, high) => {
        if (low == null) return [0, 1];
        const pad = (high - low || Math.abs(high) || 1) * 0.06;
        return [curve.hasZero ? Math.min(0, low) : low - pad, high + pad];
      } },
    },
    cursor: { points: { size: 6 }, sync: { key: "steps" } },
    legend: { live: true },
    plugins: [restarts(starts)],
  };
}

function withValidations(steps, columns, validations) {
  if (!validations.length) return [steps, ...columns];
  const own = [validations.map((point) => point.step), validations.map((point) => point.value ?? null)];
  return uPlot.join([[steps, ...columns], own]);
}

export function Chart({ curve, steps, starts, validations }) {
  const place = useRef(null);
  const [theme, setTheme] = useState(dark.matches);
  const isSmoothed = curve.values.length >= SMOOTHED_FROM && curve.label !== "learning rate";

  useEffect(() => {
    const change = () => setTheme(dark.matches);
    dark.addEventListener("change", change);
    return () => dark.removeEventListener("change", change);
  }, []);

  useEffect(() => {
    const columns = [curve.values, ...(isSmoothed ? [smoothed(curve.values)] : [])];
    const data = withValidations(steps, columns, validations);
    const element = place.current; // the reference is empty again before the chart is taken down
    if (!element) return undefined;
    const width = () => Math.max(200, element.clientWidth);
    const plot = new uPlot(options(curve, width(), starts, isSmoothed, validations.length > 0), data, element);
    const observer = new ResizeObserver(() => plot.setSize({ width: width(), height: HEIGHT }));
    observer.observe(element);
    return () => {
      observer.disconnect();
      plot.destroy();
    };
  }, [curve, steps, starts, validations, theme, isSmoothed]);

  const known = curve.values.filter((value) => value != null);
  const last = known.at(-1);
  const label = `${curve.label} over ${steps.length} steps: last ${number(last)}, least ${number(known.reduce((a, b) => Math.min(a, b), Infinity))}, greatest ${number(known.reduce((a, b) => Math.max(a, b), -Infinity))}`;
  return html`<figure class="card chart">
    <figcaption><span>${curve.label}</span><strong>${curve.label === "tokens per second" ? compact(last) : number(last)}</strong></figcaption>
    <div ref=${place} role="img" aria-label=${label}></div>
    <details><summary>As a table<span class="hidden">: ${curve.label}</span></summary><${Values} curve=${curve} steps=${steps} /></details>
  </figure>`;
}

function Values({ curve, steps }) {
  const every = Math.max(1, Math.ceil(steps.length / TABLE_ROWS));
  const rows = steps.map((step, i) => [step, curve.values[i]]).filter((_, i) => i % every === 0 || i === steps.length - 1);
  return html`<div class="scroll short" tabindex="0" role="region" aria-label=${`${curve.label}, values`}><table>
    <thead><tr><th scope="col" class="n">Step</th><th scope="col" class="n">${curve.label}</th></tr></thead>
    <tbody>${rows.map(([step, value]) => html`<tr key=${step}><td class="n">${step}</td><td class="n">${number(value, 6)}</td></tr>`)}</tbody>
  </table></div>`;
}

export function Curves({ curves }) {
  if (!curves) return html`<p class="quiet">Loading the curves…</p>`;
  if (!curves.steps.length) return html`<p class="quiet">${curves.origin}</p>`;
  const again = curves.starts.slice(1);
  const thinned = curves.logged > curves.steps.length ? `, ${curves.steps.length} of ${curves.logged} logged steps` : `, ${curves.logged} logged steps`;
  return html`
    <div class="charts">${curves.curves.map((curve) => html`<${Chart} key=${curve.label} curve=${curve} steps=${curves.steps}
      starts=${again} validations=${curve.label === "loss" ? curves.validations : []} />`)}</div>
    <p class="quiet small">From the ${curves.origin}${thinned}${again.length ? "; dashed: started again" : ""}.</p>`;
}
