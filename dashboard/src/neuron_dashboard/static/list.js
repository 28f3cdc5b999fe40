// The list of jobs: filtered, sorted, one row each.

import { html, useMemo, useState } from "./preact.js";
import { age, compact, duration, keyOf, number, percent, share, tone } from "./format.js";

const COLUMNS = [
  { id: "name", title: "Job", value: (job) => job.name },
  { id: "phase", title: "Phase", value: (job) => job.phase },
  { id: "progress", title: "Progress", value: share },
  { id: "left", title: "Left", value: (job) => job.remainingSeconds, number: true },
  { id: "tokens", title: "Tokens/s", value: (job) => job.tokensPerSecond, number: true, wide: true },
  { id: "mfu", title: "MFU", value: (job) => job.mfu, number: true, wide: true },
  { id: "goodput", title: "Goodput", value: (job) => job.goodput, number: true },
  { id: "loss", title: "Loss", value: (job) => job.loss, number: true, wide: true },
  { id: "nodes", title: "Nodes", value: (job) => job.nodes, number: true, wide: true },
  { id: "restarts", title: "Restarts", value: (job) => job.restarts, number: true, wide: true },
  { id: "age", title: "Age", value: (job) => -Date.parse(job.creationTime ?? job.startTime ?? 0), number: true, wide: true },
];

function compare(a, b) {
  if (a == null || b == null) return (a == null) - (b == null);
  return typeof a === "string" ? a.localeCompare(b) : a - b;
}

function sorted(jobs, { id, down }) {
  const { value } = COLUMNS.find((column) => column.id === id);
  return [...jobs].sort((a, b) => {
    const [x, y] = [value(a), value(b)];
    const order = x == null || y == null ? compare(x, y) : (down ? -1 : 1) * compare(x, y);
    return order || keyOf(a).localeCompare(keyOf(b));
  });
}

export function Phase({ job }) {
  return html`<span class=${`phase ${tone(job)}`}>${job.phase}</span>`;
}

export function Progress({ job }) {
  const done = share(job);
  if (done == null) return html`<span class="quiet">${job.step ? `step ${job.step}` : "no step yet"}</span>`;
  return html`<span class="progress"
    ><progress max="1" value=${done} aria-label=${`steps of ${job.name}`}></progress
    ><span>${percent(done)}</span></span>`;
}

function Row({ job, hasNamespaces }) {
  return html`<tr>
    <th scope="row">
      <a href=${`#/job/${encodeURIComponent(keyOf(job))}`}>${job.name}</a>
      ${hasNamespaces && html`<span class="quiet small">${job.namespace}</span>`}
    </th>
    <td><${Phase} job=${job} />${job.phase !== "Running" && job.reason && html`<span class="quiet small">${job.reason}</span>`}</td>
    <td><${Progress} job=${job} /></td>
    <td class=${`n ${job.remainingSeconds == null ? "none" : ""}`}>${duration(job.remainingSeconds)}</td>
    <td class="n wide">${compact(job.tokensPerSecond)}</td>
    <td class="n wide">${percent(job.mfu, 1)}</td>
    <td class="n goodput">${percent(job.goodput)}</td>
    <td class="n wide">${number(job.loss)}</td>
    <td class="n wide">${job.nodes == null ? "–" : job.readyNodes == null ? job.nodes : `${job.readyNodes}/${job.nodes}`}</td>
    <td class="n wide">${job.restarts}</td>
    <td class="n wide">${age(job.creationTime ?? job.startTime)}</td>
  </tr>`;
}

export function JobList({ jobs }) {
  const [text, setText] = useState("");
  const [phase, setPhase] = useState("");
  const [order, setOrder] = useState({ id: "name", down: false });
  const all = useMemo(() => [...(jobs?.values() ?? [])], [jobs]);
  const phases = useMemo(() => {
    const counts = new Map();
    for (const job of all) counts.set(job.phase, (counts.get(job.phase) ?? 0) + 1);
    return [...counts].sort();
  }, [all]);
  const shown = useMemo(() => {
    const wanted = text.trim().toLowerCase();
    return sorted(all.filter((job) => (!phase || job.phase === phase) && keyOf(job).toLowerCase().includes(wanted)), order);
  }, [all, text, phase, order]);
  const hasNamespaces = new Set(all.map((job) => job.namespace)).size > 1;

  if (jobs == null) return html`<p class="quiet loading">Loading…</p>`;
  if (!all.length)
    return html`<section class="empty"><h1>No job yet</h1>
      <p>Submit one: <code>kubectl neuron submit config.yaml</code>. It appears here by itself.</p></section>`;

  const by = (column) => () =>
    setOrder({ id: column.id, down: order.id === column.id ? !order.down : Boolean(column.number) });
  return html`
    <div class="bar">
      <h1>Jobs <span class="quiet">${shown.length === all.length ? all.length : `${shown.length} of ${all.length}`}</span></h1>
      <input type="search" placeholder="Filter by name" aria-label="Filter jobs by name" value=${text}
        onInput=${(event) => setText(event.target.value)} />
    </div>
    <div class="chips" role="group" aria-label="Filter by phase">
      <button type="button" aria-pressed=${phase === ""} onClick=${() => setPhase("")}>All</button>
      ${phases.map(([name, count]) => html`<button type="button" key=${name} aria-pressed=${phase === name}
          onClick=${() => setPhase(phase === name ? "" : name)}>${name} <span class="quiet">${count}</span></button>`)}
    </div>
    <div class="scroll"><table class="jobs">
      <thead><tr>${COLUMNS.map((column) => html`<th key=${column.id} scope="col"
          class=${[column.number && "n", column.wide && "wide"].filter(Boolean).join(" ")}
          aria-sort=${order.id === column.id ? (order.down ? "descending" : "ascending") : "none"}>
          <button type="button" onClick=${by(column)}>${column.title}</button></th>`)}</tr></thead>
      <tbody>${shown.map((job) => html`<${Row} key=${keyOf(job)} job=${job} hasNamespaces=${hasNamespaces} />`)}</tbody>
    </table></div>
    ${!shown.length && html`<p class="quiet">No job fits the filter.</p>`}`;
}
