"""The Neuron failure table: versioned data that says what a failure means. Typed and checked here, read elsewhere.

Two lists, in each of which the first entry that fits decides: `failures` are about what a process, a launcher or the
kubelet said, `nodes` about what a node says about itself. An entry fits where all of its criteria do.
"""

import re
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic.alias_generators import to_camel

from neuron_api.resource.reasons import Reason

MAX_CHARACTERS: Final = 262_144
_MAX_FAULTS: Final = 5

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
Pattern = re.Pattern[str]


class TableError(ValueError):
    """The table cannot be used; the text says which file, entry and key, and what was expected."""


class _Part(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True)


class MinimumScope(StrEnum):
    """What a failure calls for at least; where that cannot be, the next one."""

    PROCESS = "Process"
    """Nothing beyond the processes that the elastic agent has restarted."""
    POD = "Pod"
    """This pod is replaced."""
    GANG = "Gang"
    """All pods are replaced."""
    STOP = "Stop"
    """The job has failed."""


Cause = Literal[
    Reason.HARDWARE_FAULT,
    Reason.COLLECTIVE_HANG,
    Reason.NODE_MAINTENANCE,
    Reason.NEURON_SOFTWARE_MISMATCH,
    Reason.POD_FAILED,
    Reason.PROCESS_FAILED,
    Reason.PROCESS_KILLED,
    Reason.OUT_OF_MEMORY,
    Reason.POD_EVICTED,
    Reason.POD_PREEMPTED,
    Reason.NODE_LOST,
]


class _Entry(_Part):
    """What all entries say."""

    name: Name
    """Stands in the ledger as `rule`."""
    cause: Cause
    """Reason that the failure is recorded with."""
    counted: StrictBool
    """Whether it uses up a part of a budget of restartPolicy."""
    restart_scope: MinimumScope
    exclude: StrictBool
    """Whether new pods are to avoid the node."""

    @model_validator(mode="before")
    @classmethod
    def _has_no_former_name(cls, content: Any) -> Any:
        if isinstance(content, dict) and "rung" in content:
            raise ValueError("rung is now restartScope: Process, Pod, Gang or Stop (docs/upgrade.md)")
        return content

    @model_validator(mode="after")
    def _excludes_only_replaced_pods(self) -> Self:
        if self.exclude and self.restart_scope in (MinimumScope.PROCESS, MinimumScope.STOP):
            scope = f"restartScope {self.restart_scope}"
            raise ValueError(f"exclude is true, and {scope} leaves no pod to be moved: take Pod or Gang")
        return self


class FailureRule(_Entry):
    """What was said, and by whom."""

    neuron_codes: tuple[StrictInt, ...] = ()
    """Codes of the Neuron runtime, any of which may have been said."""
    exit_codes: tuple[StrictInt, ...] = ()
    """Of the process or container, any of them; negative: a signal."""
    pod_reasons: tuple[str, ...] = ()
    """`status.reason` of the pod, any of them."""
    message: Pattern | None = None
    """Regular expression, searched for in all that was said."""

    @model_validator(mode="after")
    def _has_a_criterion(self) -> Self:
        if not (self.neuron_codes or self.exit_codes or self.pod_reasons or self.message):
            raise ValueError("it has no criterion: give neuronCodes, exitCodes, podReasons or message")
        return self


class ConditionTest(_Part):
    """A condition of the node."""

    type: str
    status: Literal["True", "False", "Unknown"]
    """Which polarity is the bad one."""
    reason: Pattern | None = None


class LabelTest(_Part):
    """A label of the node, where it has it."""

    key: str
    values: tuple[str, ...] = ()
    """Any of these is bad."""
    not_values: tuple[str, ...] = ()
    """Anything but these is bad."""

    @model_validator(mode="after")
    def _has_exactly_one_list(self) -> Self:
        if bool(self.values) is bool(self.not_values):
            raise ValueError("give values or notValues, and not both")
        return self


class TaintTest(_Part):
    """A taint of the node."""

    key: str
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None


class NodeRule(_Entry):
    """What a node says about itself: one of three."""

    condition: ConditionTest | None = None
    label: LabelTest | None = None
    taint: TaintTest | None = None

    @model_validator(mode="after")
    def _has_exactly_one_test(self) -> Self:
        if [self.condition, self.label, self.taint].count(None) != 2:
            raise ValueError("give one of condition, label and taint")
        return self


class FailureTable(_Part):
    """The whole; without entries, nothing is known about any failure."""

    version: Literal[1] = 1
    """Of the table's form."""
    revision: str = ""
    """Of its content; for people and for the metric."""
    neuron_code: tuple[Pattern, ...] = ()
    """Where a code of the Neuron runtime stands in a text: expressions with one group; the first that finds one."""
    failures: tuple[FailureRule, ...] = Field(default=(), max_length=256)
    nodes: tuple[NodeRule, ...] = Field(default=(), max_length=256)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        names = [entry.name for entry in (*self.failures, *self.nodes)]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two entries are called {twice[0]}")
        if wrong := [pattern.pattern for pattern in self.neuron_code if pattern.groups != 1]:
            raise ValueError(f"neuronCode: {wrong[0]!r} needs one group, around the code")
        return self

    def entry(self, name: str) -> FailureRule | NodeRule | None:
        """Return the entry of this name."""
        entries: tuple[FailureRule | NodeRule, ...] = (*self.failures, *self.nodes)
        return next((entry for entry in entries if entry.name == name), None)


EMPTY: Final = FailureTable()
"""Nothing is known about any failure."""


def parse(text: str, source: str) -> FailureTable:
    """A table out of YAML; `source` is what the message calls it. Raises `TableError`."""
    if len(text) > MAX_CHARACTERS:
        raise TableError(f"{source}: it has {len(text)} characters; a failure table has at most {MAX_CHARACTERS}.")
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as problem:
        raise TableError(f"{source}: it is no YAML: {' '.join(str(problem).split())}") from None
    if not isinstance(content, dict) or "version" not in content:
        raise TableError(f"{source}: expected a mapping with version, failures and nodes.")
    try:
        return FailureTable.model_validate(content)
    except ValidationError as problem:
        faults = list(_faults(problem, content))
        more = f" (and {len(faults) - _MAX_FAULTS} more)" if len(faults) > _MAX_FAULTS else ""
        raise TableError(f"{source}: {' '.join(faults[:_MAX_FAULTS])}{more}") from None


def _faults(problem: ValidationError, content: dict[str, Any]) -> Iterator[str]:
    for fault in problem.errors():
        message = re.sub(r"<[\w.]+: ('[^']*')>", r"\1", str(fault["msg"]).removeprefix("Value error, "))
        actual = "" if fault["type"] in ("missing", "value_error") else f", found {str(fault['input'])[:60]!r}"
        yield f"{_where(fault['loc'], content)}: {message[:1].lower()}{message[1:]}{actual}."


def _where(location: tuple[int | str, ...], content: Any) -> str:
    """`failures[3] (hbm).counted`."""
    text, here = "", content
    for step in location:
        if isinstance(step, str) and step.startswith("function-"):
            continue
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
        try:
            here = here[step]
        except (KeyError, IndexError, TypeError):
            here = None
        if isinstance(step, int) and isinstance(here, dict) and "name" in here:
            text += f" ({str(here['name'])[:63]})"
    return text or "the table"
