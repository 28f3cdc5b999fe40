"""`--explain KEY`: what a key means, what it may be, what it is when it is absent; of a code, cause and remedy."""

from neuron_api import effects, keys
from neuron_api.names import nearest
from neuron_api.paths import all_paths
from neuron_api.registry import ENTRIES
from neuron_api.spec import Accelerator
from neuron_operator.errors import UserInputError


def text(asked: str) -> str:
    """A few lines for a key path, with or without `spec.config.` before it, or for a code."""
    if asked.upper().startswith("NTJ-"):
        return _code(asked.upper())
    path = asked.removeprefix("spec.").removeprefix("config.")
    key = keys.of(path)
    if key is None:
        near = nearest(path, [known for known, _ in all_paths()])
        raise UserInputError(f"there is no key {path}{f'; did you mean {near}?' if near else ''}")
    lines = [path, f"  type     {key.kind}", f"  default  {key.default}"]
    if key.codes:
        lines.append(f"  checks   {', '.join(key.codes)}")
    if not key.below:
        lines += [
            f"  on {device.device:<8}{effects.words(path, device)}" for device in (Accelerator.CPU, Accelerator.NEURON)
        ]
    lines += ["", f"  {key.meaning}"]
    if key.below:
        lines += ["", "  keys", *(f"    {name}" for name in key.below)]
    return "\n".join(lines) + "\n"


def _code(code: str) -> str:
    entry = ENTRIES.get(code)
    if entry is None:
        raise UserInputError(f"there is no code {code}; there are NTJ-1001 to {max(ENTRIES)}")
    lines = [
        f"{entry.code}  {entry.title}",
        f"  severity {entry.severity}",
        f"  keys     {', '.join(entry.keys) or 'any'}",
    ]
    return "\n".join((*lines, "", f"  {entry.cause}", f"  {entry.remedy}")) + "\n"
