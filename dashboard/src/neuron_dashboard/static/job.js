// One job: where it is, its curves, what it cost, what happened.

import { html, useEffect, useRef, useState } from "./preact.js";
import { ago, clock, compact, duration, keyOf, number, percent, words } from "./format.js";
import { get, suspend } from "./store.js";
import { Phase, Progress } from "./list.js";
import { Curves } from "./charts.js";

const PAUSE = 400; // ms for which changes of a job are gathered
const CURVES_PAUSE = 5000; // ms between two readings of the curves
const POLL = 15000; // ms after which pods and events are read again, while somebody looks
const REDUNDANT = ["PodsReady", "Progressing"];

// What a path answers for a job, read again when `version` changes, at most once in `pause` ms. An answer counts though
// `version` has changed since it was asked for, else a job that changes faster than it is read would show nothing.
function useReading(path, id, version, pause) {
  const [state, setState] = useState({ value: null, problem: "" });
  const last = useRef({ place: "", time: -Infinity, asked: 0, shown: 0 });
  useEffect(() => () => (last.current.place = ""), []);
  useEffect(() => {
    const reading = last.current;
    const place = `${path} ${id}`;
    if (reading.place !== place) reading.time = -Infinity;
    reading.place = place;
    const wait = Math.max(0, reading.time + pause - performance.now());
    const timer = setTimeout(() => {
      reading.time = performance.now();
      const number = (reading.asked += 1);
      const show = (change) => {
        if (reading.place !== place || number < reading.shown) return; // Of another job, or older than what is shown.
        reading.shown = number;
        setState(change);
      };
      get(path, id).then(
        (value) => show({ value, problem: "" }),
        (problem) => show((before) => ({ ...before, problem: problem.message })),
      );
    }, wait);
    return () => clearTimeout(timer);
  }, [path, id, version]);
  return state;
}

function useTicks(interval) {
  const [ticks, setTicks] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => document.hidden || setTicks((count) => count + 1), interval);
    return () => clearInterval(timer);
  }, []);
  return ticks;
}

export function JobPage({ id, summary, known, canChange }) {
  const ticks = useTicks(POLL);
  const { value: detail, problem } = useReading("/api/job", id, `${JSON.stringify(summary)} ${ticks}`, PAUSE);
  const curves = useReading("/api/curves", id, `${summary?.step} ${summary?.phase}`, CURVES_PAUSE);
  const job = detail ? { ...detail, ...summary } : summary;

  if (!job)
    return html`<nav aria-label="Back"><a href="#/">← All jobs</a></nav>
      ${problem || known ? html`<p class="notice bad" role="alert">${problem || `There is no job ${id} here.`}</p>` : html`<p class="quiet loading">Loading…</p>`}`;
  return html`
    <nav aria-label="Back"><a href="#/">← All jobs</a></nav>
    <div class="bar">
      <h1>${job.name} <${Phase} job=${job} /></h1>
      ${canChange && !job.isFinished && html`<${Suspend} job=${job} />`}
    </div>
    ${problem && html`<p class="notice bad" role="alert">${problem}</p>`}
    <${Explanation} job=${job} />
    <${Numbers} job=${job} />
    <section aria-labelledby="curves"><h2 id="curves">Curves</h2>
      ${curves.problem && html`<p class="notice bad">${curves.problem}</p>`}<${Curves} curves=${curves.value} /></section>
    ${detail && html`<${Time} job=${detail} /><${Ledger} job=${detail} />
      <div class="columns"><${Conditions} job=${detail} /><${Pods} job=${detail} />
      <${Checkpoints} job=${detail} /><${Plan} job=${detail} /></div>
      <${Events} job=${detail} />${job.namespace && html`<${Log} id=${id} key=${id} />`}
      ${detail.unread?.map((text) => html`<p class="quiet small">Not read: ${text}</p>`)}`}`;
}

function Explanation({ job }) {
  if (!job.explanation) return null;
  const isBad = job.phase === "Failed";
  const waits = !isBad && !["Running", "Succeeded"].includes(job.phase);
  return html`<div class=${`notice ${isBad ? "bad" : waits ? "warn" : ""}`}>
    <p>${job.explanation}</p>
    ${job.remedy && (isBad || waits) && html`<p class="quiet">${job.remedy}</p>`}
    ${job.evidence?.length > 0 && (isBad || waits) && html`<ul class="quiet small">${job.evidence.map((line) => html`<li>${line}</li>`)}</ul>`}
  </div>`;
}

function Numbers({ job }) {
  const facts = [
    ["Step", job.maxSteps ? `${job.step.toLocaleString("en")} of ${job.maxSteps.toLocaleString("en")}` : number(job.step)],
    ["Last step", ago(job.lastStepTime)],
    ["Time left", duration(job.remainingSeconds)],
    ["Loss", number(job.loss)],
    ["Tokens/s", compact(job.tokensPerSecond)],
    ["Goodput", percent(job.goodput)],
    ["MFU", percent(job.mfu, 1)],
    ["Nodes ready", job.nodes == null ? "–" : job.readyNodes == null ? String(job.nodes) : `${job.readyNodes} of ${job.nodes}`],
    ["Restarts", job.restarts ? `${job.restarts} (${job.stepsLost} steps lost)` : "0"],
  ].filter(([, value]) => value !== "–");
  return html`<section class="card" aria-label="Where it is">
    <${Progress} job=${job} />
    <dl class="numbers">${facts.map(([label, value]) => html`<div key=${label}><dt>${label}</dt><dd>${value}</dd></div>`)}</dl>
  </section>`;
}

function Suspend({ job }) {
  const dialog = useRef(null);
  const [state, setState] = useState({ busy: false, text: "" });
  const verb = job.isSuspended ? "Resume" : "Suspend";
  const confirm = () => {
    setState({ busy: true, text: "" });
    suspend(keyOf(job), !job.isSuspended).then(
      ({ text }) => setState({ busy: false, text: text.split(" See:")[0].trim() }),
      (problem) => setState({ busy: false, text: problem.message }),
    );
    dialog.current.close();
  };
  return html`<div class="actions">
    ${state.text && html`<span role="status" class="quiet small">${state.text}</span>`}
    <button type="button" disabled=${state.busy} onClick=${() => dialog.current.showModal()}>${verb}…</button>
    <dialog ref=${dialog} aria-labelledby="ask">
      <h2 id="ask">${verb} ${job.name}?</h2>
      <p>${job.isSuspended
        ? "Its pods are created again, and training goes on from the newest checkpoint."
        : "Its pods end after a checkpoint. The job stays, and resuming it goes on from there."}</p>
      <div class="actions">
        <button type="button" onClick=${() => dialog.current.close()}>Cancel</button>
        <button type="button" class="primary" onClick=${confirm}>${verb}</button>
      </div>
    </dialog>
  </div>`;
}

// An activity has the same colour everywhere (style.css); a part of an earlier release one by its place.
const partClass = (part, i) => `part${i % 5} part-${part.label.replaceAll(" ", "-")}`;

function Time({ job }) {
  const shares = job.timeShares ?? [];
  const total = shares.reduce((sum, part) => sum + part.seconds, 0);
  if (!total) return null;
  return html`<section class="card" aria-labelledby="time"><h2 id="time">Where the time went</h2>
    <div class="stack" aria-hidden="true">${shares.map((part, i) => html`<span key=${part.label} class=${partClass(part, i)} style=${{ flexGrow: part.seconds / total }}></span>`)}</div>
    <ul class="legend">${shares.map((part, i) => html`<li key=${part.label}><i class=${partClass(part, i)}></i>${part.label}
      <strong>${duration(part.seconds)}</strong><span class="quiet">${percent(part.seconds / total)}</span></li>`)}</ul>
  </section>`;
}

function Ledger({ job }) {
  const entries = [...(job.ledger ?? [])].reverse();
  return html`<section class="card" aria-labelledby="restarts"><h2 id="restarts">Restarts</h2>
    ${!entries.length && html`<p class="quiet">None.</p>`}
    <ol class="timeline">${entries.map((entry) => html`<li key=${entry.number} class=${entry.recoveredTime || job.isFinished || entry.scope === "Run" ? "" : "open"}>
      <p><strong>${words(entry.cause)}</strong> <span class="tag">${entry.scope}</span>
        <time class="quiet small" datetime=${entry.time} title=${clock(entry.time)}>${ago(entry.time)}</time></p>
      <p>${entry.sentence}</p>
      <p class="quiet small">${cost(entry)}</p>
      ${entry.remedy && html`<details><summary>What to do</summary><p>${entry.remedy}</p></details>`}
    </li>`)}</ol></section>`;
}

function cost(entry) {
  const parts = [];
  if (entry.resumedFromStep != null) parts.push(`went on from step ${entry.resumedFromStep}`);
  if (entry.stepsLost != null) parts.push(`${entry.stepsLost} steps done again`);
  if (entry.recoverySeconds != null) parts.push(`${duration(entry.recoverySeconds)} until the next step`);
  return parts.length ? `${parts.join(", ")}.` : "No step since.";
}

function Conditions({ job }) {
  const shown = (job.conditions ?? []).filter((one) => !(REDUNDANT.includes(one.type) && one.status === "True"));
  if (!shown.length) return null;
  return html`<section class="card" aria-labelledby="conditions"><h2 id="conditions">Conditions</h2>
    <ul class="plain">${shown.map((one) => html`<li key=${one.type}>
      <p><strong>${words(one.type)}</strong> <span class="tag">${one.status}</span> <span class="quiet small">${one.reason}, ${ago(one.time)}</span></p>
      ${one.message && html`<p class="small">${one.message}</p>`}
      ${one.remedy && html`<details><summary>What it means</summary><p>${one.remedy}</p></details>`}</li>`)}</ul></section>`;
}

function Pods({ job }) {
  if (!job.pods?.length && !job.excludedNodes?.length && !job.stragglers?.length) return null;
  return html`<section class="card" aria-labelledby="pods"><h2 id="pods">Pods and nodes</h2>
    <div class="scroll short" tabindex="0" role="region" aria-label="Table of pods"><table>
      <thead><tr><th scope="col">Pod</th><th scope="col">Node</th><th scope="col">State</th></tr></thead>
      <tbody>${(job.pods ?? []).map((pod) => html`<tr key=${pod.name}><th scope="row">${pod.name}</th><td>${pod.node || "–"}</td>
        <td><span class=${`dot ${pod.isReady ? "good" : "idle"}`}></span>${pod.state}</td></tr>`)}</tbody></table></div>
    ${(job.stragglers ?? []).map((slow) => html`<p class="small">${slow}</p>`)}
    ${job.excludedNodes?.length > 0 && html`<p class="small">Avoided: ${job.excludedNodes.join("; ")}</p>`}</section>`;
}

function Checkpoints({ job }) {
  const all = job.checkpoints ?? [];
  return html`<section class="card" aria-labelledby="checkpoints"><h2 id="checkpoints">Checkpoints</h2>
    ${(job.restartCost || !all.length) && html`<p class=${job.restartCost ? "small" : "quiet"}>${job.restartCost || "None yet."}</p>`}
    ${all.length > 0 && html`<div class="scroll short" tabindex="0" role="region" aria-label="Table of checkpoints"><table>
      <thead><tr><th scope="col" class="n">Step</th><th scope="col">Age</th><th scope="col">Used by</th><th scope="col">Path</th></tr></thead>
      <tbody>${all.map((one) => html`<tr key=${one.step}><td class="n">${one.step}</td><td class="age">${ago(one.time)}</td>
        <td class="age">${one.usedBy?.length ? `restart ${one.usedBy.join(", ")}` : "–"}</td><td class="path">${one.path || "–"}</td></tr>`)}</tbody></table></div>`}
    ${job.resume?.length > 0 && html`<details><summary>How the newest start resumed</summary><ul class="small">${job.resume.map((line) => html`<li>${line}</li>`)}</ul></details>`}
  </section>`;
}

function Plan({ job }) {
  if (!job.facts?.length) return null;
  return html`<section class="card" aria-labelledby="plan"><h2 id="plan">Plan</h2>
    <dl class="facts">${job.facts.map((fact) => html`<div key=${fact.label + fact.value}><dt>${fact.label}</dt><dd>${fact.value}</dd></div>`)}</dl></section>`;
}

function Events({ job }) {
  if (!job.events?.length) return null;
  return html`<section class="card" aria-labelledby="events"><h2 id="events">Events</h2>
    <ul class="plain">${[...job.events].reverse().map((event) => html`<li key=${event.time + event.reason + event.subject} class="small">
      <span class=${`dot ${event.isWarning ? "warn" : "idle"}`}></span><time class="quiet" datetime=${event.time}>${ago(event.time)}</time>
      ${" "}${event.subject && `${event.subject}: `}<strong>${event.reason}</strong>${event.count > 1 && ` (×${event.count})`} ${event.note}</li>`)}</ul></section>`;
}

function Log({ id }) {
  const [state, setState] = useState({ text: null, problem: "" });
  const read = () => get("/api/log", id).then(({ text }) => setState({ text, problem: "" }), (problem) => setState({ text: null, problem: problem.message }));
  return html`<section class="card" aria-labelledby="log"><h2 id="log">Log of the first failure</h2>
    ${state.problem && html`<p class="notice bad">${state.problem}</p>`}
    ${state.text == null
      ? html`<button type="button" onClick=${read}>Read the log</button>`
      : html`<pre tabindex="0" role="region" aria-label="Lines of the log">${state.text}</pre>`}</section>`;
}
