// The page: a list of jobs, or one job, by the part of the address after #.

import { html, render, useEffect, useState } from "./preact.js";
import { keyOf } from "./format.js";
import { follow } from "./store.js";
import { JobList } from "./list.js";
import { JobPage } from "./job.js";

const route = () => {
  const match = location.hash.match(/^#\/job\/(.+)$/);
  return match ? decodeURIComponent(match[1]) : null;
};

function App() {
  const [key, setKey] = useState(route());
  const [about, setAbout] = useState({ title: "", canChange: false });
  const [{ jobs, problem }, setState] = useState({ jobs: null, problem: "" });

  useEffect(() => {
    const change = () => {
      setKey(route());
      scrollTo(0, 0);
    };
    addEventListener("hashchange", change);
    fetch("/api/about").then((response) => response.json()).then(setAbout, () => {});
    const end = follow(keyOf, setState);
    return () => {
      removeEventListener("hashchange", change);
      end();
    };
  }, []);

  useEffect(() => {
    document.title = key ? `${key} – Neuron training` : "Neuron training";
  }, [key]);

  return html`
    <header class="top">
      <a class="brand" href="#/"><img src="/static/icon.svg" alt="" width="24" height="24" /> Neuron training</a>
      <span class="where" title=${about.title}>${about.title}</span>
      <span class=${`pulse ${problem ? "off" : jobs ? "on" : ""}`}>${problem ? "not live" : jobs ? "live" : "connecting"}</span>
    </header>
    ${problem && html`<p class="notice bad" role="alert">${problem}</p>`}
    <main id="main" tabindex="-1">
      ${key
        ? html`<${JobPage} key=${key} id=${key} summary=${jobs?.get(key)} known=${jobs != null} canChange=${about.canChange} />`
        : html`<${JobList} jobs=${jobs} />`}
    </main>`;
}

const root = document.getElementById("app");
root.textContent = "";
render(html`<${App} />`, root);
