// What the server says: requests, and the stream of changes, which is open only while somebody looks at the page.

export async function get(path, key) {
  const response = await fetch(`${path}?key=${encodeURIComponent(key)}`, { headers: { Accept: "application/json" } });
  return read(response);
}

export async function suspend(key, value) {
  const response = await fetch("/api/suspend", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ key, suspend: value }),
  });
  return read(response);
}

async function read(response) {
  if (response.status === 401) throw new Error("The dashboard was started again: open the address that it printed.");
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(body.error ?? `The dashboard answers ${response.status}.`);
  return body;
}

// Calls `show` with {jobs: Map by key, problem} at once and after each change; returns what ends it.
export function follow(keyOf, show) {
  let stream = null;
  let jobs = null;
  const state = (problem = "") => show({ jobs, problem });

  function open() {
    if (stream || document.hidden) return;
    stream = new EventSource("/api/updates");
    stream.onmessage = (message) => {
      const update = JSON.parse(message.data);
      if (update.problem) return state(update.problem);
      if (update.reset) jobs = new Map(update.reset.map((job) => [keyOf(job), job]));
      else {
        jobs = new Map(jobs);
        for (const job of update.changed) jobs.set(keyOf(job), job);
        for (const key of update.removed) jobs.delete(key);
      }
      state();
    };
    stream.onerror = () => {
      state("The dashboard does not answer. Is the command still running?");
      if (stream?.readyState === EventSource.CLOSED) close(), setTimeout(open, 3000);
    };
  }

  function close() {
    stream?.close();
    stream = null;
  }

  const look = () => (document.hidden ? close() : open());
  document.addEventListener("visibilitychange", look);
  open();
  return () => {
    document.removeEventListener("visibilitychange", look);
    close();
  };
}
