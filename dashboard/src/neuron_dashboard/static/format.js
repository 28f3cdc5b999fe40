// Numbers, times and names for people; nothing here touches the page.

const UNITS = [["d", 86400], ["h", 3600], ["m", 60], ["s", 1]];

export function duration(seconds) {
  if (seconds == null || !Number.isFinite(seconds)) return "–";
  let rest = Math.max(0, Math.floor(seconds));
  for (let i = 0; i < UNITS.length; i++) {
    const [unit, size] = UNITS[i];
    if (rest >= size) {
      const smaller = UNITS[i + 1];
      const more = smaller ? Math.floor((rest % size) / smaller[1]) : 0;
      return `${Math.floor(rest / size)}${unit}${more ? ` ${more}${smaller[0]}` : ""}`;
    }
  }
  return "0s";
}

export const age = (time, now = Date.now()) => (time ? duration((now - Date.parse(time)) / 1000) : "–");

export const ago = (time) => (time ? `${age(time)} ago` : "–");

export function number(value, digits = 4) {
  if (value == null || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size >= 1e6 || (size > 0 && size < 1e-3)) return value.toExponential(2).replace(/\.?0*e\+?/, "e");
  return size >= 1000 ? Math.round(value).toLocaleString("en") : String(Number(value.toPrecision(digits)));
}

export function compact(value) {
  if (value == null || !Number.isFinite(value)) return "–";
  return new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 }).format(value);
}

export const percent = (share, digits = 0) => (share == null ? "–" : `${(100 * share).toFixed(digits)} %`);

export const share = (job) => (job.maxSteps ? Math.min(1, job.step / job.maxSteps) : null);

export const keyOf = (job) => (job.namespace ? `${job.namespace}/${job.name}` : job.name);

export const clock = (time) => (time ? new Date(time).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" }) : "–");

export const words = (name) => name.replace(/\B(?=[A-Z])/g, " ").toLowerCase().replace(/^./, (first) => first.toUpperCase());

const TONES = { Running: "good", Succeeded: "good", Failed: "bad", Restarting: "warn", Suspending: "warn", Stopped: "warn", Suspended: "idle" };

export const tone = (job) => TONES[job.phase] ?? "idle";
