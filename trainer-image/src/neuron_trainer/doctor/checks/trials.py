"""What the trials of the devices have shown."""

from collections.abc import Iterator, Mapping
from typing import Final

from neuron_trainer.doctor.result import Result, failed, ok, unknown
from neuron_trainer.doctor.trials import Trial

_LATE: Final = {
    "collective": "Check TORCH_NEURONX_ENABLE_HOST_CC, and that no other process has the cores (the lines above).",
    "compile": "Give it more time (--timeout): the first compilation fills the cache, and the second is quick.",
    "step": "Give it more time (--timeout), or look at what the runtime logs with NEURON_RT_LOG_LEVEL=INFO.",
    "operators": "Give it more time (--timeout): each of them is compiled.",
}
_REMEDY: Final = {
    "collective": "Repair what the lines above name; then read the runtime's own messages (NEURON_RT_LOG_LEVEL=INFO).",
    "compile": "Compare neuronx-cc and torch-neuronx with the release notes of one SDK.",
    "step": "Repair what the lines above name; then send the report.",
    "operators": "Repair what the lines above name; then send the report.",
}
_USE: Final = {
    "bool sum": "Counts of labels do not use it here; a model of your own should sum `mask.float()`.",
    "gather": "Losses and routers do not use it on Trn1; on others use tensor parallel 1, and send the report.",
    "scatter_add": "Losses do not use it on Trn1; experts and embeddings do: compare their first losses with a CPU's.",
    "int32 cumsum": "Do not train experts with a capacity_factor here, and send the report.",
    "int32 product": "Do not use stochastic rounding or dropout here: their random bits would not be random.",
    "topk": "Do not train experts here: tokens would go to others than the best ones.",
}
"""What a wrong operator does to a training, and what to do."""
_SHOWN: Final = 300


def results(trials: Mapping[str, Trial]) -> Iterator[Result]:
    """Yield a line for each trial, and one about operators that ran on the CPU."""
    for name, trial in trials.items():
        yield _result(name, trial)
        for operator, difference in trial.values.get("operators", {}).items():
            yield _operator(str(operator), str(difference))
    step = trials.get("step")
    if step and "fallbacks" in step.values:
        yield _fallbacks([str(operator) for operator in step.values["fallbacks"]])


def _result(name: str, trial: Trial) -> Result:
    took = f"{trial.seconds:.0f} s"
    if trial.is_late:
        return failed(name, f"it did not end within {took}, and was killed", _LATE[name])
    if trial.problem:
        return failed(name, trial.problem[-_SHOWN:].rstrip("."), _REMEDY[name])
    return ok(name, f"{_words(name, trial)}, {took}")


def _words(name: str, trial: Trial) -> str:
    values = trial.values
    if name == "collective":
        send = "" if values.get("send") else "; no send and receive, so pipelines exchange by collectives"
        return f"right over {values.get('processes')} processes{send}"
    if name == "compile":
        return f"a block in {values.get('first_seconds')} s, again in {values.get('second_seconds')} s"
    if name == "operators":
        return f"{len(values.get('operators', {}))} compared with the host"
    return "three steps, the loss falls"


def _operator(name: str, difference: str) -> Result:
    if difference:
        return failed(name, difference[:_SHOWN].rstrip("."), _USE[name])
    return ok(name, "the host's numbers")


def _fallbacks(operators: list[str]) -> Result:
    if operators:
        remedy = "Training works and is slow there: report them with this image's versions."
        return unknown("fallback", f"operators that ran on the CPU: {', '.join(operators)}"[:_SHOWN], remedy)
    return ok("fallback", "no operator ran on the CPU")
