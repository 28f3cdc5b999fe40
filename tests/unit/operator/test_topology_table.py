"""Every row of the tables of instance types and of multi-node variables, against the pods that are made.

The facts are copied here as data, with their sources, from their sources as of 2026-11-24 (upstream-facts.md); the code
has its own in `neuron_api.platform.instances` and `planning.objects.placement`. Codes of the sources: SDK
aws-neuron-sdk, DRV aws-neuron-driver, HPC sagemaker-hyperpod-cli, KP karpenter-provider-aws, NxDT
neuronx-distributed-training, ADA awsome-distributed-ai, TFK
amazon-eks-machine-learning-with-terraform-and-kubeflow.
"""

from dataclasses import dataclass
from typing import Any, Final

import pytest

from builders import OPTIONS, JobBuilder, accepted, make_job
from neuron_api import contract
from neuron_api.platform import environment, instances
from neuron_api.platform.instances import INSTANCE_TYPES
from neuron_api.resource.spec import Platform
from neuron_operator.planning.objects import desired
from neuron_operator.planning.observation.observation import ConfigText
from neuron_operator.planning.validation import validation
from neuron_operator.planning.validation.validation import Refused

from .passes import TWO

NEURON, EFA = "aws.amazon.com/neuron", "vpc.amazonaws.com/efa"


# ---- instance types ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """Of the table of instance types."""

    name: str
    chips: int
    physical: int
    """Cores of a node."""
    logical: dict[int, int]
    """Cores of a node by trainer.lnc."""
    default: int
    """trainer.lnc where it is not set."""
    efa: int | None
    """None: not published."""
    source: str


ROWS: Final = (
    Row("trn1.2xlarge", 1, 2, {1: 2}, 1, 0, "SDK: How to prepare trn1.32xlarge for multi-node execution (2.29.1)"),
    Row("trn1.32xlarge", 16, 32, {1: 32}, 1, 8, "SDK:about-neuron/arch/neuron-hardware/trn1-arch.rst"),
    Row("trn1n.32xlarge", 16, 32, {1: 32}, 1, 16, "SDK:about-neuron/arch/neuron-hardware/trn1-arch.rst"),
    Row("trn2.3xlarge", 1, 8, {1: 8, 2: 4}, 2, 1, "HPC:src/sagemaker/hyperpod/training/constants.py:43"),
    Row("trn2.48xlarge", 16, 128, {1: 128, 2: 64}, 2, 16, "SDK:about-neuron/arch/neuron-hardware/trn2-arch.rst"),
    # The number of its interfaces is not published; 16 is that of trn2.48xlarge.
    Row("trn2u.48xlarge", 16, 128, {1: 128, 2: 64}, 2, 16, "SDK:about-neuron/arch/neuron-hardware/trn2-arch.rst:46"),
    Row("trn3pd98.3xlarge", 1, 8, {1: 8, 2: 4}, 2, None, "DRV:v4/neuron_dhal_v4.c, ndhal_instance_type_3xl"),
)
UNPUBLISHED: Final = ("trn3.48xlarge", "trn3pds.48xlarge", "trn3e.24xlarge", "ml.trn3.48xlarge", "trn2x-dev.12xlarge")
"""Names of a known generation whose devices nobody has published."""
OTHERS: Final = ("p5.48xlarge", "trn4.48xlarge", "xtrn2.48xlarge", "trn2", "ml.ml.trn2.48xlarge", "inf2.48xlarge")

WHOLE: Final = [(row, lnc) for row in ROWS for lnc in (None, *row.logical)]
PARTS: Final = [(row, lnc, n) for row in ROWS for lnc in row.logical for n in (1, 4, 8) if n < row.chips]
"""What the scheduler extension gives of a node (SDK:deploy/infrastructure/scheduler.rst:18-28)."""


def on(row: Row, processes: int, nodes: int, lnc: int | None) -> JobBuilder:
    job = make_job().nodes(nodes).trainium(row.name).config("trainer.devices", processes)
    job = job.config("data.global_batch_size", 4096)
    return job if lnc is None else job.config("trainer.lnc", lnc)


def pod_of(job: JobBuilder) -> dict[str, Any]:
    built = job.build()
    return desired.pod(built, accepted(built), 0, 0)


def resources_of(job: JobBuilder) -> dict[str, str]:
    (container,) = pod_of(job)["spec"]["containers"]
    asked: dict[str, dict[str, str]] = container.get("resources", {"requests": {}, "limits": {}})
    assert asked["requests"] == asked["limits"], "Kubernetes wants both for what it does not know"
    return asked["requests"]


def variables_of(job: JobBuilder) -> dict[str, str]:
    (container,) = pod_of(job)["spec"]["containers"]
    return {one["name"]: one["value"] for one in container["env"] if "value" in one}


def refused(job: JobBuilder) -> str:
    built = job.build()
    gate = validation.validate(built, ConfigText(validation.config_text(built)), OPTIONS)
    assert isinstance(gate, Refused)
    return gate.message


def ids(value: object) -> str:
    return value.name if isinstance(value, Row) else str(value)


@pytest.mark.parametrize(("row", "lnc"), WHOLE, ids=ids)
def test_a_whole_node_has_the_processes_chips_and_interfaces_of_its_row(row: Row, lnc: int | None) -> None:
    processes, nodes = row.logical[lnc or row.default], 4 if row.efa else 1
    job = on(row, processes, nodes, lnc)
    assert resources_of(job) == {NEURON: str(row.chips)} | ({EFA: str(row.efa)} if row.efa else {})
    assert pod_of(job)["spec"]["nodeSelector"] == {"node.kubernetes.io/instance-type": row.name}
    variables = variables_of(job)
    assert variables[contract.ENV_PROCESSES_PER_NODE] == str(processes)
    assert variables[contract.ENV_NUM_NODES] == str(nodes)
    chosen = str(lnc or row.default) if len(row.logical) > 1 else None
    assert variables.get("NEURON_LOGICAL_NC_CONFIG") == variables.get("NEURON_RT_VIRTUAL_CORE_SIZE") == chosen


@pytest.mark.parametrize(("row", "lnc", "chips"), PARTS, ids=ids)
def test_a_part_of_a_node_has_its_chips_and_no_interface(row: Row, lnc: int, chips: int) -> None:
    processes = row.logical[lnc] * chips // row.chips
    assert resources_of(on(row, processes, 1, lnc)) == {NEURON: str(chips)}


@pytest.mark.parametrize(("chips", "given"), [(n, n in (1, 4, 8, 16)) for n in range(1, 17)])
@pytest.mark.parametrize("row", ROWS[1:3], ids=ids)
def test_a_part_of_a_trn1_node_that_is_not_given_is_warned_about(row: Row, chips: int, given: bool) -> None:
    built = on(row, 2 * chips, 1, None).config("data.global_batch_size", 720720).build()
    message = accepted(built).message
    assert (f"{chips} of 16 chips: Neuron's scheduler gives 1, 4, 8 or 16 of a node" in message) is not given


@pytest.mark.parametrize(("row", "lnc"), [(row, lnc) for row in ROWS for lnc in row.logical], ids=ids)
def test_one_process_more_than_the_cores_of_a_node_is_refused(row: Row, lnc: int) -> None:
    most = row.logical[lnc]
    assert f"{2 * most} processes per node are more than the {most} logical" in refused(on(row, 2 * most, 1, lnc))


@pytest.mark.parametrize("row", [row for row in ROWS if 2 not in row.logical], ids=ids)
def test_cores_that_cannot_be_joined_are_not(row: Row) -> None:
    assert f"trainer.lnc: 2 is not possible on {row.name}" in refused(on(row, 2, 1, 2))


@pytest.mark.parametrize("row", [row for row in ROWS if row.efa == 0], ids=ids)
def test_a_node_without_an_interface_joins_no_other(row: Row) -> None:
    assert f"{row.name} has no EFA interface" in refused(on(row, 2, 2, None))


@pytest.mark.parametrize("name", OTHERS)
def test_an_instance_type_without_trainium_is_refused_with_those_that_have_it(name: str) -> None:
    message = refused(TWO.trainium(name))
    assert all(row.name in message for row in ROWS)


@pytest.mark.parametrize("name", UNPUBLISHED)
def test_a_type_of_a_known_generation_runs_with_the_devices_that_the_job_says(name: str) -> None:
    """A new size of a known chip needs no new release."""
    assert "the number of Neuron devices of" in refused(TWO.trainium(name))
    assert "spec.platform.efaInterfaces" in refused(TWO.trainium(name, neuronDevices=4))
    job = TWO.trainium(name, neuronDevices=4, efaInterfaces=4).config("trainer.devices", 16)
    job = job.config("data.global_batch_size", 4096)
    assert resources_of(job) == {NEURON: "4", EFA: "4"}
    assert pod_of(job)["spec"]["nodeSelector"] == {"node.kubernetes.io/instance-type": name}
    assert variables_of(job)["NEURON_LOGICAL_NC_CONFIG"] == "2"
    assert "34 processes per node are more than the 16 logical" in refused(job.config("trainer.devices", 34))


def test_what_a_job_says_about_its_nodes_takes_the_place_of_the_table() -> None:
    job = TWO.trainium("trn2u.48xlarge", efaInterfaces=8).config("trainer.devices", 64)
    assert resources_of(job.config("data.global_batch_size", 4096)) == {NEURON: "16", EFA: "8"}


def test_claims_take_the_place_of_requests() -> None:
    """Kubernetes' dynamic resource allocation: one claim of each template, made with the pod."""
    templates = ("trn2-all", "efa-all")
    claims = [{"resourceClaimTemplateName": name} for name in templates]
    job = TWO.trainium("trn2.48xlarge", resourceClaims=claims).config("trainer.devices", 64)
    spec = pod_of(job.config("data.global_batch_size", 4096))["spec"]
    assert spec["containers"][0]["resources"] == {"claims": [{"name": "devices-0"}, {"name": "devices-1"}]}
    assert [one["resourceClaimTemplateName"] for one in spec["resourceClaims"]] == list(templates)
    assert [one["name"] for one in spec["resourceClaims"]] == ["devices-0", "devices-1"]


@pytest.mark.parametrize("resource", [NEURON, EFA, "aws.amazon.com/neuroncore"])
def test_devices_are_claimed_or_requested(resource: str) -> None:
    claims = [{"resourceClaimTemplateName": "all"}]
    job = TWO.trainium("trn2.48xlarge", resourceClaims=claims).config("trainer.devices", 64)
    job = job.config("data.global_batch_size", 4096)
    resources = {"limits": {resource: "16"}, "requests": {resource: "16"}}
    template = {"spec": {"containers": [{"name": contract.CONTAINER, "resources": resources}]}}
    message = refused(job.pod_template(template))
    assert f"limits[{resource}]" in message
    assert "spec.platform.resourceClaims claims the devices" in message


@pytest.mark.parametrize("instance_type", [None, "p5.48xlarge"])
def test_a_cuda_job_has_a_gpu_for_each_process(instance_type: str | None) -> None:
    platform = {"accelerator": "CUDA"} | ({"instanceType": instance_type} if instance_type else {})
    job = make_job().nodes(1).config("trainer.devices", 2).config("data.global_batch_size", 96).spec(platform=platform)
    spec = pod_of(job)["spec"]
    assert resources_of(job) == {"nvidia.com/gpu": "2"}
    assert spec.get("nodeSelector") == ({"node.kubernetes.io/instance-type": instance_type} if instance_type else None)
    assert [one["key"] for one in spec["tolerations"]] == ["nvidia.com/gpu"]
    assert variables_of(job)[contract.ENV_ACCELERATOR] == "cuda"
    assert "CCOM_SOCKET_IFNAME" not in variables_of(job)


def test_the_code_knows_the_rows_of_the_table_and_no_other() -> None:
    known = {row.name: (row.chips, row.chips * row.cores_per_chip, row.efa) for row in INSTANCE_TYPES.values()}
    assert known == {row.name: (row.chips, row.physical, row.efa) for row in ROWS}


@pytest.mark.parametrize(("processes", "nodes"), [(1, 2), (2, 1), (2, 3), (8, 2)])
def test_a_cpu_job_has_its_processes_and_nothing_of_the_table(processes: int, nodes: int) -> None:
    job = make_job().nodes(nodes).config("trainer.devices", processes).config("data.global_batch_size", 96)
    assert resources_of(job) == {}
    assert "nodeSelector" not in pod_of(job)["spec"]
    variables = variables_of(job)
    assert (variables[contract.ENV_PROCESSES_PER_NODE], variables[contract.ENV_NUM_NODES]) == (
        str(processes), str(nodes),
    )  # fmt: skip
    assert not ({name for name, _, who, _ in VARIABLES if who == POD} - CPU_TOO) & set(variables)


# ---- variables of a multi-node pod -------------------------------------------------------------------------------

POD, TRAINER, NOBODY = "set on the pod", "derived by the trainer from the configuration", "set by nobody"
CPU_TOO: Final = {"MASTER_ADDR", "MASTER_PORT"}

VARIABLES: Final[tuple[tuple[str, str, str, str], ...]] = (
    # name, value, who, source; of those that nobody sets, why
    ("FI_PROVIDER", "efa", POD, "NxDT:examples/train_setup.sh:12,45"),
    ("FI_EFA_USE_DEVICE_RDMA", "1", POD, "NxDT:examples/train_setup.sh:11,44"),
    ("FI_EFA_FORK_SAFE", "1", POD, "NxDT:examples/train_setup.sh:13,46"),
    ("CCOM_SOCKET_IFNAME", "eth0", POD, "NxDT:examples/train_setup.sh:36"),
    ("MALLOC_ARENA_MAX", "128", POD, "NxDT:examples/train_setup.sh:65"),
    ("MASTER_ADDR", "tiny-0.tiny.team.svc", POD, "NxDT:examples/train_setup.sh:14"),
    ("MASTER_PORT", "41000", POD, "NxDT:examples/train_setup.sh:14,64"),
    ("XLA_DISABLE_FUNCTIONALIZATION", "0", POD, "NxDT:examples/train_setup.sh:60"),
    ("NEURON_LOGICAL_NC_CONFIG", "2", POD, "SDK:about-neuron/arch/neuron-features/logical-neuroncore-config.rst:37"),
    ("NEURON_RT_VIRTUAL_CORE_SIZE", "2", POD, "SDK:libraries/nxd-inference/tutorials/trn2-llama3.1-405b-…:118"),
    (
        "NEURON_CC_FLAGS",
        "--model-type transformer --enable-mixed-precision-accumulation --auto-cast none",
        TRAINER,
        "NxDT:examples/training_orchestrator.py:34-48",
    ),
    ("NEURON_COMPILE_CACHE_URL", "/training/cache", TRAINER, "NxDT:examples/training_orchestrator.py:34-48"),
    ("NEURON_RT_EXEC_TIMEOUT", "100", TRAINER, "NxDT:examples/training_orchestrator.py:34-48"),
    ("NEURON_FUSE_SOFTMAX", "1", TRAINER, "NxDT:examples/training_orchestrator.py:100-110"),
    ("BUCKET_CAP_MB", "1024", TRAINER, "NxDT:examples/training_orchestrator.py:34-48"),
    ("NEURON_RT_STOCHASTIC_ROUNDING_EN", "1", TRAINER, "NxDT:examples/training_orchestrator.py:100-110"),
    ("NEURON_RT_ASYNC_EXEC_MAX_INFLIGHT_REQUESTS", "5", TRAINER, "NxDT:examples/training_orchestrator.py:43"),
    ("FI_EFA_ENABLE_SHM_TRANSFER", "", NOBODY, "ADA's template only; its value is the provider's default"),
    ("FI_LOG_LEVEL", "", NOBODY, "ADA's template only; it is about logs"),
    ("NEURON_RT_ROOT_COMM_ID", "", NOBODY, "torchrun's way sets it up itself (Neuron runtime docs)"),
    ("NEURON_RT_NUM_CORES", "", NOBODY, "ADA's template, literally 32: wrong on all but one instance type"),
    ("TPU_NUM_DEVICES", "", NOBODY, "the same"),
    ("TPU_CHIPS_PER_HOST_BOUNDS", "", NOBODY, "the same"),
    ("COMPILE", "", NOBODY, "a pass of NxDT that only compiles (examples/train.sh:19-24), which only a user asks for"),
    ("NEURON_GLOBAL_TOPOID", "", NOBODY, "UltraServers only (SDK:deploy/eks/ultraserver.rst:36-40)"),
    ("NEURON_RT_ULTRASERVER_MODE", "", NOBODY, "UltraServers only (SDK:deploy/eks/ultraserver.rst:36-40)"),
    ("NEURON_RT_ULTRASERVER_SERVER_ID", "", NOBODY, "UltraServers only (SDK:deploy/eks/ultraserver.rst:36-40)"),
    ("NEURON_RT_ULTRASERVER_NODE_ID", "", NOBODY, "UltraServers only (SDK:deploy/eks/ultraserver.rst:36-40)"),
)
"""`ulimit -n` and the reserved port of the same table are no variables: the container runtime sets the one, and the
other's port is only taken inside of the pod's own network."""


def multi_node() -> JobBuilder:
    """Four whole nodes, and a value for every key that a variable follows from."""
    job = on(ROWS[4], 64, 4, None)
    values: dict[str, object] = {
        "compiler_flags": "--model-type transformer",
        "compiler_cache_url": "/training/cache",
        "neuron_rt_exec_timeout": 100,
        "model.fusions.softmax": True,
        "bucket_size_collectives": 1024,
        "precision.type": "mixed_precisionSR",
        "aync_exec_max_inflight_requests": 5,
    }
    for key, value in values.items():
        job = job.config(key, value)
    return job


@pytest.mark.parametrize(("name", "value", "who", "source"), VARIABLES, ids=[row[0] for row in VARIABLES])
def test_a_variable_of_the_multi_node_table_is_set_by_the_one_who_knows_it(
    name: str, value: str, who: str, source: str
) -> None:
    job = multi_node()
    on_pod = variables_of(job)
    derived = environment.apply(environment.derive(accepted(job.build()).config), on_pod)
    assert on_pod.get(name) == (value if who == POD else None), source
    if who == TRAINER:
        assert derived[name] == value, source
    else:
        assert name not in derived, source


def test_nothing_is_set_on_a_pod_beside_the_table_and_the_contract_with_the_trainer() -> None:
    ours = {getattr(contract, name) for name in dir(contract) if name.startswith("ENV_")}
    assert set(variables_of(multi_node())) - ours == {name for name, _, who, _ in VARIABLES if who == POD}


def test_a_users_value_of_a_variable_wins() -> None:
    template = {"spec": {"containers": [{"name": "trainer", "env": [{"name": "FI_PROVIDER", "value": "tcp"}]}]}}
    assert variables_of(multi_node().pod_template(template))["FI_PROVIDER"] == "tcp"


@pytest.mark.parametrize(
    ("platform", "keys"),
    [
        (
            {"accelerator": "CPU", "instanceType": "trn2.48xlarge", "neuronDevices": 3},
            ["neuronDevices", "instanceType"],
        ),
        ({"accelerator": "CUDA", "instanceType": "g5.xlarge", "efaInterfaces": 1}, ["efaInterfaces"]),
        (
            {"instanceType": "trn2.48xlarge", "neuronDevices": 8, "efaInterfaces": 99},
            ["neuronDevices", "efaInterfaces"],
        ),
        ({"instanceType": "trn2.48xlarge", "neuronDevices": 16, "efaInterfaces": 16}, []),
        ({"instanceType": "trn3.48xlarge", "neuronDevices": 8}, []),
        ({"accelerator": "CPU"}, []),
    ],
)
def test_fields_of_the_platform_that_contradict_are_named(platform: dict[str, Any], keys: list[str]) -> None:
    findings = list(instances.contradictions(Platform.model_validate(platform)))
    assert [finding.key for finding in findings] == [f"spec.platform.{key}" for key in keys]
    assert all(finding.severity == "warning" and finding.remedy for finding in findings)
