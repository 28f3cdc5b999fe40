"""The failure table: what is refused and how that is said; what the built-in one says about each signal of Neuron's."""

import pytest
import yaml

from builders import NOW, at, rfc3339
from neuron_api.resource.progress import ProcessFailure
from neuron_api.resource.reasons import Reason
from neuron_operator.failure_rules import built_in
from neuron_operator.planning.failures import failure_table, signals
from neuron_operator.planning.failures.failure_table import MinimumScope, TableError
from neuron_operator.planning.observation import nodes
from neuron_operator.planning.observation.observation import Node, NodeCondition, Taint

ENTRY = {
    "name": "a",
    "neuronCodes": [1],
    "cause": "HardwareFault",
    "counted": False,
    "restartScope": "Pod",
    "exclude": True,
}
TAINTED = {"name": "b", "cause": "NodeMaintenance", "counted": False, "restartScope": "Pod", "exclude": False}
TABLE = built_in()


def text(*failures: object, **more: object) -> str:
    return yaml.safe_dump({"version": 1, "failures": list(failures), **more})


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[1, 2]", "t.yaml: expected a mapping with version, failures and nodes."),
        ("a: [", "t.yaml: it is no YAML"),
        ("failures: []", "t.yaml: expected a mapping with version"),
        (text(version=2), "t.yaml: version: input should be 1, found '2'."),
        (text(nope=1), "t.yaml: nope: extra inputs are not permitted"),
        (
            text({**ENTRY, "counted": "maybe"}),
            "failures[0] (a).counted: input should be a valid boolean",
        ),
        (
            text({**ENTRY, "restartScope": "moon"}),
            "failures[0] (a).restartScope: input should be 'Process', 'Pod', 'Gang' or 'Stop'",
        ),
        (text({**ENTRY, "cause": "Completed"}), "failures[0] (a).cause: input should be 'HardwareFault', 'Collective"),
        (text({**ENTRY, "message": "("}), "failures[0] (a).message: input should be a valid regular expression"),
        (text({**ENTRY, "neuronCodes": []}), "failures[0] (a): it has no criterion: give neuronCodes"),
        (text({**ENTRY, "neuronCodes": ["x"]}), "failures[0] (a).neuronCodes[0]: input should be a valid integer"),
        (
            text({**ENTRY, "restartScope": "Process"}),
            "failures[0] (a): exclude is true, and restartScope Process leaves no pod",
        ),
        (text({k: v for k, v in ENTRY.items() if k != "exclude"}), "failures[0] (a).exclude: field required."),
        (text({**ENTRY, "name": "A b"}), "failures[0] (A b).name: string should match pattern"),
        (text({**ENTRY, "rung": "pod"}), "failures[0] (a): rung is now restartScope: Process, Pod, Gang or Stop"),
        (text(ENTRY, ENTRY), "two entries are called a."),
        (text(nodes=[TAINTED]), "nodes[0] (b): give one of condition, label and taint."),
        (text(nodes=[{**TAINTED, "taint": {}}]), "nodes[0] (b).taint.key: field required."),
        (
            text(nodes=[{**TAINTED, "label": {"key": "x"}}]),
            "nodes[0] (b).label: give values or notValues",
        ),
        (
            text(nodes=[{**TAINTED, "condition": {"type": "x", "status": True}}]),
            "status: input should be 'True'",
        ),
        (text(neuronCode=["abc"]), "neuronCode: 'abc' needs one group, around the code."),
        ("#" * 300_000, "t.yaml: it has 300000 characters; a failure table has at most 262144."),
    ],
)
def test_a_table_that_is_wrong_is_refused_with_file_entry_and_key(content: str, says: str) -> None:
    with pytest.raises(TableError) as problem:
        failure_table.parse(content, "t.yaml")
    assert says in str(problem.value)


def test_many_faults_are_told_at_once_but_not_without_end() -> None:
    entries = [{**ENTRY, "name": f"n{n}", "restartScope": "x"} for n in range(9)]
    with pytest.raises(TableError, match=r"n0.*n4.*and 4 more"):
        failure_table.parse(text(*entries), "t.yaml")


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("RuntimeError: nrt_execute failed, status_code=1202", 1202),
        ("ERROR  NRT:nrt_infer  error code: 1205 (repairable)", 1205),
        ("NRT_EXEC_HW_ERR_COLLECTIVES (1200)", 1200),
        ("nrt_tensor_read status=5", 5),
        ("Neuron runtime returned error 1203", 1203),
        ("ValueError: shape 1202 does not fit", None),
        ("step 1202 of 5000, loss 3.1", None),
        ("", None),
    ],
)
def test_the_code_of_the_neuron_runtime_is_found_in_what_was_said(said: str, code: int | None) -> None:
    assert signals.neuron_code(TABLE, said) == code


HARDWARE = (Reason.HARDWARE_FAULT, False, MinimumScope.POD, True)
HANG = (Reason.COLLECTIVE_HANG, True, MinimumScope.PROCESS, False)
BUSY = (Reason.PROCESS_FAILED, True, MinimumScope.POD, False)
MAINTENANCE = (Reason.NODE_MAINTENANCE, False, MinimumScope.POD, False)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("nrt_execute status_code=1202", HARDWARE),
        ("status_code=1004: SRAM parity: uncorrectable error on NC 3", HARDWARE),
        ("nrt_execute status_code=1201", HARDWARE),
        ("status_code=5: HBM has an error, action terminate", HARDWARE),
        ("status_code=1205: reload the neuron driver or reboot", HARDWARE),
        ("status_code=1203", HARDWARE),
        ("status_code=5: DMA engine is in abort state", HARDWARE),
        ("status_code=5: execution timeout", HARDWARE),
        ("nrt status: 101", HARDWARE),
        ("kernel: NEURON_HW_ERR=HBM_UE instance-id=i-1 action=TERMINATE_INSTANCE", HARDWARE),
        ("status_code=1200", HANG),
        ("status_code=5: suspected hang in collectives, execution timeout", HANG),
        ("NRT EXECUTION FAILED: Stuck in collectives op (missing notification(s)).", HANG),
        ("NRT EXECUTION FAILED: EFA network proxy failure", HANG),
        ("[Rank 3] Watchdog caught collective operation timeout: ALLREDUCE ran for 600 s", HANG),
        ("NET/OFI RX, connection closed by remote peer", HANG),
        ("NRT EXECUTION FAILED: An HBM encountered an unrepairable uncorrectable error", HARDWARE),
        ("NRT EXECUTION FAILED: A DMA engine encountered an unrecoverable error", HARDWARE),
        ("TDRV: Timeout exceeded: Waiting on barrier proxy task: 120 sec", HANG),
        ("Logical Neuron Core(s) not available - Requested:lnc3-lnc3 Available:0 (cores busy, ret=-16)", BUSY),
        ("RuntimeError: Failed to execute the device barrier 1", BUSY),
        ("status_code=10", (Reason.NEURON_SOFTWARE_MISMATCH, False, MinimumScope.STOP, False)),
        ("status_code=1004: completed with error", None),
        ("status_code=5", None),
        ("status_code=1", None),
        ("SRAM uncorrectable, says the user's own log", None),
        ("ValueError: bad batch", None),
        ("RuntimeError: Connection closed by peer", None),
    ],
)
def test_what_processes_say_is_understood_by_the_built_in_table(said: str, meant: object) -> None:
    failure = ProcessFailure(time=NOW, round=0, rank=3, local_rank=1, exit_code=1, message="gone", lines=(said,))
    found = signals.match_process(TABLE, failure)
    assert (found and (found.cause, found.counted, found.restart_scope, found.exclude)) == meant


def node(**values: object) -> Node:
    return Node("ip-1", "ip-1.local", **values)  # type: ignore[arg-type]


def condition(kind: str, status: str, reason: str = "") -> Node:
    return node(conditions=(NodeCondition(kind, status, reason),))


@pytest.mark.parametrize(
    ("seen", "meant"),
    [
        (condition("NeuronHealth", "True", "NeuronHasError_SRAM_UNCORRECTABLE_ERROR"), HARDWARE),
        (condition("NeuronHealth", "False", "NeuronHasNoError"), None),
        (condition("NeuronHealth", "True", "NeuronHasNoError"), None),
        (condition("NeuronHasError", "True"), HARDWARE),
        (condition("NeuronHasError", "False"), None),
        (condition("NeuronHealthy", "False"), HARDWARE),
        (condition("NeuronHealthy", "True"), None),
        (condition("AcceleratedHardwareReady", "False", "NeuronHBMUncorrectableError"), HARDWARE),
        (condition("AcceleratedHardwareReady", "True", "NeuronHealthy"), None),
        (condition("AcceleratedHardwareReady", "Unknown", "NeuronX"), None),
        (node(labels={"sagemaker.amazonaws.com/node-health-status": "UnschedulablePendingReboot"}), HARDWARE),
        (node(labels={"sagemaker.amazonaws.com/node-health-status": "Schedulable"}), None),
        (node(taints=(Taint("karpenter.sh/disrupted", "", "NoSchedule"),)), MAINTENANCE),
        (node(taints=(Taint("karpenter.sh/disruption", "disrupting", "NoSchedule"),)), MAINTENANCE),
        (node(taints=(Taint("karpenter.sh/disruption", "something", "NoSchedule"),)), None),
        (node(taints=(Taint("aws-node-termination-handler/spot-itn", "x", "NoSchedule"),)), MAINTENANCE),
        (node(taints=(Taint("aws-node-termination-handler/scheduled-maintenance", "", "NoSchedule"),)), MAINTENANCE),
        (node(taints=(Taint("aws-node-termination-handler/asg-lifecycle-termination"),)), MAINTENANCE),
        (node(taints=(Taint("ToBeDeletedByClusterAutoscaler", "1700000000", "NoSchedule"),)), MAINTENANCE),
        (node(taints=(Taint("node.cloudprovider.kubernetes.io/shutdown", "", "NoSchedule"),)), MAINTENANCE),
        (node(taints=(Taint("aws.amazon.com/neuron", "", "NoSchedule"),)), None),
        (node(), None),
    ],
)
def test_both_polarities_of_what_nodes_say_are_understood(seen: Node, meant: object) -> None:
    found = signals.match_node(TABLE, seen)
    assert (found and (found.cause, found.counted, found.restart_scope, found.exclude)) == meant
    assert found is None or "node ip-1 has" in found.evidence


def test_the_criteria_of_an_entry_are_all_asked_for() -> None:
    entry = {**ENTRY, "exitCodes": [-6], "podReasons": ["Odd"], "message": "boom"}
    table = failure_table.parse(text(entry, neuronCode=[r"code (\d+)"]), "t.yaml")
    assert signals.match_failure(table, "boom, code 1", -6, "Odd")
    for said, code, reason in [("boom, code 2", -6, "Odd"), ("code 1", -6, "Odd"), ("boom, code 1", 1, "Odd"),
                               ("boom, code 1", -6, "")]:  # fmt: skip
        assert signals.match_failure(table, said, code, reason) is None


def test_what_proves_a_node_to_be_at_fault_is_the_strongest() -> None:
    hang = signals.match_failure(TABLE, "status_code=1200")
    sick = signals.match_node(TABLE, condition("NeuronHealthy", "False"))
    gone = signals.match_node(TABLE, node(taints=(Taint("karpenter.sh/disrupted"),)))
    assert signals.strongest((hang, sick)) is sick
    assert signals.strongest((hang, gone)) is hang
    assert signals.strongest((None, gone)) is gone
    assert signals.strongest((None, None)) is None


def test_a_node_is_read_as_the_api_server_has_it_and_without_its_optional_parts() -> None:
    body = {
        "metadata": {"name": "ip-1", "labels": {"kubernetes.io/hostname": "host-1"}},
        "spec": {"taints": [{"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute"}]},
        "status": {"conditions": [{"type": "Ready", "status": "Unknown", "lastTransitionTime": rfc3339(at(5))}]},
    }
    seen = nodes.read(body)
    assert (seen.name, seen.hostname, seen.silent_since, seen.is_fenced) == ("ip-1", "host-1", at(5), True)
    bare = nodes.read({"metadata": {"name": "ip-2"}})
    assert (bare.hostname, bare.silent_since, bare.is_fenced) == ("ip-2", None, False)
