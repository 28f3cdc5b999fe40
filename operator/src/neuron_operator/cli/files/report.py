"""A plan as plain data: the columns of expected.tsv in its order, then what they do not have."""

from typing import TYPE_CHECKING, Any

from neuron_api.derive.plan import COLUMNS, TrainingPlan
from neuron_api.findings.finding import Finding

if TYPE_CHECKING:
    from .plan import Planned


def to_dict(planned: "Planned") -> dict[str, Any]:
    """Return what `-o json` and `-o yaml` print; every name is there, with null where nothing is known."""
    plan = planned.plan
    columns = plan.columns if plan else dict.fromkeys(COLUMNS)
    return {
        "config": planned.label,
        **columns,
        **_machines(plan),
        "environment": plan.environment if plan else {},
        "parameters": plan.parameters if plan else None,
        "trained_parameters": plan.trained_parameters if plan else None,
        "reference": _reference(planned),
        "compiler": plan.compiler if plan else None,
        "recompiles": list(planned.recompilation.changes) if planned.recompilation else None,
        "memory": _memory(plan),
        "checkpoint_bytes": plan.checkpoint_bytes if plan else None,
        "legal_nodes": list(planned.node_plan.legal) if planned.node_plan else None,
        "memory_copies_bytes": planned.copies,
        "config_hash": planned.hash or None,
        "findings": [_finding(finding) for finding in planned.findings],
    }


def _machines(plan: TrainingPlan | None) -> dict[str, Any]:
    if plan is None:
        return dict.fromkeys(("instance_type", "neuron_devices_per_node", "efa_per_node"))
    nothing = 0 if plan.hardware.instance_type is None else None
    return {
        "instance_type": plan.hardware.instance_type,
        "neuron_devices_per_node": plan.devices.neuron if plan.devices else nothing,
        "efa_per_node": plan.devices.efa if plan.devices else nothing,
    }


def _reference(planned: "Planned") -> dict[str, Any] | None:
    """Return how the reference of DPO is computed; None for other methods."""
    plan = planned.plan
    if plan is None or plan.reference is None:
        return None
    return {"from": str(plan.reference), "samples": planned.reference_samples}


def _memory(plan: TrainingPlan | None) -> dict[str, Any] | None:
    """Bytes of the process that needs most."""
    if plan is None or plan.memory is None:
        return None
    memory = plan.memory
    return {
        "total": memory.total,
        "available": plan.device_memory,
        "stage": memory.stage,
        "parameters": memory.parameters,
        "trained": memory.trained,
        "weights": memory.weights,
        "frozen": memory.frozen,
        "reference": memory.reference,
        "gradients": memory.gradients,
        "masters": memory.masters,
        "optimizer_state": memory.optimizer_state,
        "activations": memory.activations,
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "code": finding.code or None,
        "severity": str(finding.severity),
        "key": finding.key,
        "line": finding.line,
        "message": finding.message,
        "remedy": finding.remedy,
    }
