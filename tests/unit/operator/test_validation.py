"""The gate: accepted with everything that children are made from, or refused with all that is wrong."""

from typing import Any

import pytest

from builders import NOW, OPTIONS, JobBuilder, make_job, with_status
from neuron_api.resource.reasons import Reason
from neuron_operator.planning.observation.observation import ConfigText
from neuron_operator.planning.options import Options
from neuron_operator.planning.validation import validation
from neuron_operator.planning.validation.validation import Accepted, Refused

JOB = make_job().nodes(2)


def accept(job: JobBuilder, text: str | None = None, options: Options = OPTIONS) -> Accepted:
    built = job.build()
    gate = validation.validate(built, ConfigText(text or validation.config_text(built)), options)
    assert isinstance(gate, Accepted), gate
    return gate


def refuse(job: JobBuilder, text: str | None = None, **status: Any) -> Refused:
    built = with_status(job.build(), **status)
    gate = validation.validate(built, ConfigText(text or validation.config_text(built)), OPTIONS)
    assert isinstance(gate, Refused), gate
    return gate


def test_a_good_job_is_accepted_with_its_shape() -> None:
    gate = accept(JOB)
    assert (gate.reason, gate.warnings) == (Reason.CONFIG_ACCEPTED, ())
    assert (gate.topology.num_nodes, gate.topology.processes_per_node, gate.topology.world_size) == (2, 2, 4)
    assert (gate.topology.tensor_parallel, gate.topology.data_parallel) == (2, 2)
    assert (gate.devices.neuron, gate.devices.efa) == (0, 0)


@pytest.mark.parametrize(
    ("job", "image"),
    [
        (JOB, "trainer:cpu"),
        (JOB.trainium("trn1.32xlarge"), "trainer:nxd"),
        (JOB.trainium("ml.trn1.32xlarge"), "trainer:nxd"),
        (JOB.trainium("trn2.48xlarge"), "trainer:torchneuron"),
        (JOB.trainium("trn3.48xlarge", neuronDevices=16, efaInterfaces=16), "trainer:torchneuron"),
        (JOB.spec(platform={"accelerator": "CUDA"}), "trainer:cuda"),
        (JOB.spec(image="mine:1"), "mine:1"),
        (JOB.trainium("trn1.32xlarge").spec(image="mine:1"), "mine:1"),
    ],
)
def test_the_image_is_the_jobs_or_the_operators_for_the_accelerator(job: JobBuilder, image: str) -> None:
    assert accept(job).image == image


def test_a_total_number_of_devices_is_divided_over_the_nodes_with_a_warning() -> None:
    job = JOB.trainium("trn1.32xlarge").config("data.global_batch_size", 32)
    per_node = accept(job.config("trainer.devices", 32))
    total = accept(job.config("trainer.devices", 64))
    assert (total.topology, total.devices, total.hash) == (per_node.topology, per_node.devices, per_node.hash)
    assert [one.code for one in total.warnings] == ["NTJ-3012", "NTJ-3019"]
    meant = accept(job.config("trainer.devices", 64).spec(deviceCountScope="Total"))
    assert (meant.topology, meant.warnings) == (per_node.topology, per_node.warnings)
    assert [one.code for one in meant.warnings] == ["NTJ-3019"]


def test_a_job_with_a_data_module_of_its_own_needs_no_data() -> None:
    job = JOB.config("data.data_module", "package.rows:Rows").config("data.train_dir", None)
    assert accept(job).reason == Reason.CONFIG_ACCEPTED
    told = refuse(JOB.config("data.train_dir", None)).message
    assert "data.train_dir" in told
    assert "package.module:Class" in refuse(job.config("data.data_module", "rows.py")).message


def test_notes_are_no_condition() -> None:
    gate = accept(JOB.config("bucket_size_collectives", 1024))
    assert (gate.reason, gate.warnings) == (Reason.CONFIG_ACCEPTED, ())


def test_object_and_text_of_one_configuration_have_one_hash() -> None:
    text = validation.config_text(JOB.build())
    assert accept(JOB).hash == accept(JOB.config_from("c", "k"), text).hash != ""


def test_the_text_that_pods_read_means_what_the_object_says() -> None:
    job = JOB.config("exp_manager.checkpoint_callback_params.every_n_train_steps", "${trainer.max_steps}")
    job = job.config("data.val_dir", "1e3").config("trainer.limit_val_batches", "1.0").config("data.train_dir", "007")
    text = validation.config_text(job.build())
    assert accept(job).hash == accept(JOB.config_from("c", "k"), text).hash
    config = accept(JOB.config_from("c", "k"), text).config
    assert (config.data.train_dir, config.data.val_dir) == ("007", "1e3")
    assert config.exp_manager.checkpoint_callback_params.every_n_train_steps == 100


@pytest.mark.parametrize("key", ["val_check_interval", "limit_val_batches", "limit_test_batches"])
@pytest.mark.parametrize(("value", "told"), [(1, True), ("1.0", False), (2, False), (0.5, False)])
def test_a_bare_one_is_told_to_mean_one_batch(key: str, value: object, told: bool) -> None:
    gate = accept(JOB.config("data.val_dir", "/training/val").config(f"trainer.{key}", value))
    sentence = f"spec.config.trainer.{key}: 1 means one batch"
    assert (sentence in gate.message) is told
    assert (gate.reason is Reason.CONFIG_ACCEPTED_WITH_WARNINGS) == bool(gate.warnings)
    if told:
        assert 'write the fraction as a string: "1.0"' in gate.message


def test_a_file_keeps_1_and_1_0_apart_and_needs_no_warning() -> None:
    text = validation.config_text(JOB.config("data.val_dir", "/v").config("trainer.limit_val_batches", 1).build())
    assert "one batch" not in accept(JOB.config_from("c", "k"), text).message


def test_a_fault_in_a_file_is_told_with_its_line() -> None:
    text = validation.config_text(JOB.config("trainer.max_stepz", 1).build())
    refused = refuse(JOB.config_from("c", "k"), text)
    assert refused.reason is Reason.CONFIG_INVALID
    assert "trainer.max_stepz (line " in refused.message


def test_a_text_that_is_no_mapping_is_refused() -> None:
    assert refuse(JOB.config_from("c", "k"), "- a\n- b\n").reason is Reason.CONFIG_INVALID
    assert refuse(JOB.config_from("c", "k"), "a: [").reason is Reason.CONFIG_INVALID


def test_a_configuration_that_is_not_there_is_told_in_the_words_of_the_reader() -> None:
    gate = validation.validate(JOB.build(), ConfigText(None, "spec.configFrom: no"), OPTIONS)
    assert gate == Refused(Reason.CONFIG_MAP_NOT_FOUND, "spec.configFrom: no")


def test_faults_of_configuration_and_template_are_told_together() -> None:
    template = {"spec": {"hostname": "x"}}
    for key, value in (("trainer.max_stepz", 1), ("trainer.max_steps", "many")):
        refused = refuse(JOB.config(key, value).pod_template(template))
        assert key in refused.message
        assert "spec.podTemplate.spec.hostname" in refused.message


def test_missing_storage_alone_has_its_own_reason() -> None:
    assert refuse(JOB.no_storage()).reason is Reason.STORAGE_MISSING
    assert refuse(JOB.no_storage().pod_template({"x": 1})).reason is Reason.CONFIG_INVALID


def test_a_job_of_one_node_without_a_claim_runs_with_a_warning() -> None:
    gate = accept(make_job().no_storage())
    assert gate.reason is Reason.CONFIG_ACCEPTED_WITH_WARNINGS
    assert "spec.storage" in gate.message


@pytest.mark.parametrize(
    ("job", "key"), [(JOB, "spec.config:"), (JOB.config_from("c", "k"), "spec.configFrom:")], ids=["object", "file"]
)
def test_another_configuration_than_the_checkpoints_is_refused(job: JobBuilder, key: str) -> None:
    text = validation.config_text(JOB.build())
    refused = refuse(job, text, start_time=NOW, config_hash="of another")
    assert refused.reason is Reason.CONFIG_INVALID
    assert refused.message.startswith(key)
    assert "Restore it" in refused.message
    assert "exp_manager.resume_from_checkpoint" in refused.message


def test_a_configuration_may_be_mended_before_the_first_pod() -> None:
    built = with_status(JOB.build(), config_hash="of another")
    gate = validation.validate(built, ConfigText(validation.config_text(built)), OPTIONS)
    assert isinstance(gate, Accepted)


@pytest.mark.slow
def test_a_message_never_grows_beyond_what_a_condition_holds() -> None:
    job = JOB.config("trainer.unknown", 1)
    job.body["spec"]["config"]["trainer"] |= {f"unknown_key_number_{number}": 1 for number in range(400)}
    assert len(refuse(job).message) <= 32768


@pytest.mark.parametrize(
    ("instance_type", "devices", "neuron", "efa"), [("trn1.32xlarge", 32, 16, 8), ("trn2.48xlarge", 64, 16, 16)]
)
def test_devices_follow_from_the_instance_type(instance_type: str, devices: int, neuron: int, efa: int) -> None:
    job = JOB.config("trainer.devices", devices).config("data.global_batch_size", 1024).trainium(instance_type)
    gate = accept(job)
    assert (gate.devices.neuron, gate.devices.efa) == (neuron, efa)


def test_a_job_that_saves_at_its_end_only_says_so_in_its_condition() -> None:
    params = "exp_manager.checkpoint_callback_params"
    job = make_job().config(f"{params}.every_n_train_steps", 100).config("trainer.max_steps", 100)
    found = accept(job)
    assert found.reason is Reason.CONFIG_ACCEPTED_WITH_WARNINGS
    assert "every 100 steps of a run of 100: the only checkpoint is the one at the end" in found.message
    assert "NTJ-2220" in found.message


@pytest.mark.parametrize("name", ["7b-llama", "a.b.c", "a" * 60])
def test_a_name_that_an_older_crd_let_pass_is_refused_before_the_first_pod_only(name: str) -> None:
    assert "metadata.name" in refuse(make_job(name)).message
    started = with_status(make_job(name).build(), start_time=NOW)
    assert isinstance(validation.validate(started, ConfigText(validation.config_text(started)), OPTIONS), Accepted)


@pytest.mark.parametrize("name", ["trn1.2xlarge", "trn1.32xlarge", "trn1n.32xlarge", "trn2.3xlarge", "trn2.48xlarge"])
def test_hyperpods_name_of_an_instance_type_has_the_same_devices(name: str) -> None:
    ours, theirs = (accept(make_job().trainium(one)) for one in (name, f"ml.{name}"))
    assert ours.devices == theirs.devices
    assert ours.devices.neuron > 0
