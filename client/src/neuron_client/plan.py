"""What a job will be, worked out from its configuration: as `kubectl neuron plan` shows it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from neuron_api.derive.plan import TrainingPlan
from neuron_api.findings.finding import Finding, Severity, errors_of, for_display
from neuron_operator.cli.files import report, table
from neuron_operator.cli.files.plan import Planned

from . import notebook_view
from .errors import FindingsError


@dataclass(frozen=True, slots=True)
class Plan:
    """Processes, devices, memory and checkpoints, and every finding."""

    planned: Planned
    """As the command line has it."""
    file: str = ""
    """Where the configuration is; empty for an object."""

    @property
    def training(self) -> TrainingPlan | None:
        """Return the typed plan; None where the configuration cannot be read."""
        return self.planned.plan

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Return errors, warnings and notes, each with key, line and remedy."""
        return for_display(self.planned.findings)

    @property
    def errors(self) -> tuple[Finding, ...]:
        """Return what would refuse the job."""
        return errors_of(self.findings)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """Return what would not refuse the job, and should be looked at."""
        return tuple(finding for finding in self.findings if finding.severity is Severity.WARNING)

    @property
    def nodes(self) -> int | None:
        """Return the number of pods."""
        value = self.to_dict()["num_nodes"]
        return int(value) if value is not None else None

    @property
    def world_size(self) -> int | None:
        """Return the number of processes on all nodes."""
        value = self.to_dict()["world"]
        return int(value) if value is not None else None

    def to_dict(self) -> Mapping[str, Any]:
        """Return what `kubectl neuron plan -o json` prints."""
        return report.to_dict(self.planned)

    def raise_for_errors(self) -> None:
        """Raise `FindingsError` where the job would be refused."""
        if self.errors:
            raise FindingsError(self.planned.findings, self.file)

    def __str__(self) -> str:
        return table.render(self.planned)

    def _repr_html_(self) -> str:
        return notebook_view.plan_table(table.render(Planned(**_without_findings(self.planned))), self.findings)


def _without_findings(planned: Planned) -> dict[str, Any]:
    return {
        "label": planned.label,
        "plan": planned.plan,
        "hash": planned.hash,
        "findings": (),
        "reference_samples": planned.reference_samples,
    }
