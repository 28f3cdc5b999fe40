"""What a key does on each device is what the code does: nothing is called supported that no code reads.

The kind: a key that is accepted, and whose value changes nothing (six such keys were called done on a CPU). Looked at:
every documented key, by the attribute accesses of all source files of trainer and contract; every variable of the
environment, by the difference that a value makes; the published files on both devices.
"""

from pathlib import Path
from typing import Any, Final

import pytest

from attribute_reads import field_names, reads
from neuron_api.config import TrainingConfig
from neuron_api.config.markers import WITHOUT_NEURON
from neuron_api.config.optimizers import OPTIMIZERS
from neuron_api.findings.finding import Severity
from neuron_api.loading.loader import load_text
from neuron_api.platform import environment
from neuron_api.resource.accelerator import Accelerator
from neuron_api.schema import effects, support
from neuron_api.schema.aliases import CANONICAL
from neuron_api.schema.key_path import all_paths, field_of, section_of
from neuron_api.schema.support import SupportLevel

ROOT: Final = Path(__file__).parents[3]
CONFIGS: Final = ROOT / "tests" / "data" / "configs"
LLAMA: Final = (CONFIGS / "hf_llama3_8B_config.yaml").read_text()
DEVICES: Final = (*(one.device for one in Accelerator), "xla")
TRAINER: Final = ROOT / "trainer-image" / "src" / "neuron_trainer"
API: Final = ROOT / "crds" / "src" / "neuron_api"
LEAVES: Final = [path for path, info in all_paths() if section_of(info) is None and path not in CANONICAL]
FIELDS: Final = field_names()
FILES: Final = (
    *TRAINER.rglob("*.py"),
    *(API / "derive").glob("*.py"),
    *(API / "platform").glob("*.py"),
    API / "resumption.py",
)
"""Code that acts on values; the other modules of the API name keys and check them."""
READERS: Final = reads(FILES)
for _spec in OPTIMIZERS.values():
    # The constructor is given every argument of the spec by name (test_optimizers.py), the first of a schedule's
    # switches it on (`OptimConfig.computes_rate`).
    for _key in (*_spec.arguments, *_spec.schedule_arguments[:1]):
        READERS.setdefault(("OptimConfig", _key), set()).add(TRAINER / "optim" / "build.py")
READERS[FIELDS["data.packing"]] = {API / "schema" / "aliases.py"}
"""An alias with some strategies, which are no attribute of a section."""
DONE: Final = (SupportLevel.SUPPORTED, SupportLevel.MEGATRON_ONLY, SupportLevel.SOME_VALUES)


def config(*changes: str) -> TrainingConfig:
    loaded = load_text(LLAMA, changes)
    assert loaded.config is not None, loaded.findings
    return loaded.config


def readers(path: str) -> set[Path]:
    return READERS.get(FIELDS[path], set())


@pytest.mark.parametrize("path", [path for path in LEAVES if support.level_of(path) in DONE])
def test_a_supported_key_is_read_or_says_that_it_changes_nothing(path: str) -> None:
    assert readers(path) or effects.no_effect_of(path) is not None


BY_EVERY_DEVICE: Final = [
    path
    for path in LEAVES
    if (fact := effects.no_effect_of(path)) and fact.devices == tuple(Accelerator) and not fact.unless
]
TRAINS: Final = {file for file in FILES if TRAINER in file.parents and "convert" not in str(file)}
DROPS: Final = {"model.optim.capturable"}
"""optim/build.py drops it where PyTorch has no captured graphs."""
BACKENDS: Final = {name: TRAINER / "parallel" / name for name in ("native", "xla")}
KEEPS: Final = {"compiler_cache_url"}
"""run_directory/log_dir.py keeps what `model.compile` compiles there; no number depends on it."""


@pytest.mark.parametrize("path", BY_EVERY_DEVICE)
def test_a_key_without_effect_anywhere_is_read_by_nothing_that_trains(path: str) -> None:
    assert not readers(path) & TRAINS or path in DROPS


@pytest.mark.parametrize(
    "path", [path for path in LEAVES if (fact := effects.no_effect_of(path)) and fact.devices == WITHOUT_NEURON]
)
def test_a_key_of_neuron_alone_is_a_variable_and_nothing_that_trains_elsewhere_reads_it(path: str) -> None:
    assert environment.VARIABLES[path]
    assert not readers(path) & TRAINS - set(BACKENDS["xla"].rglob("*.py")) or path in KEEPS


def read_by(backend: str) -> set[str]:
    """Keys that the code of a backend alone reads."""
    files = set(BACKENDS[backend].rglob("*.py"))
    return {path for path in LEAVES if readers(path) & files}


def test_what_one_backend_reads_the_other_reads_too_or_says_that_it_changes_nothing() -> None:
    """Or it is a variable of the runtime, which TorchNeuron reads. `native` asks `derive.hardware` what compiles; on
    PyTorch/XLA's device nobody does."""
    device = {"native": "neuron", "xla": "xla"}
    for backend, other in (("native", "xla"), ("xla", "native")):
        idle = {path for path in LEAVES if effects.no_effect_on(path, device[other])}
        assert read_by(backend) - read_by(other) <= idle | set(environment.VARIABLES)
    assert read_by("xla") >= {"bucket_size_collectives", "distributed_strategy.sequence_parallel"}, "it finds some"
    (fact,) = {effects.no_effect_on("model.compile", "xla")}
    assert fact is not None and "whole steps" in fact.why
    assert not any("compiler_of" in file.read_text() for file in BACKENDS["xla"].rglob("*.py"))


@pytest.mark.parametrize("path", [path for path in LEAVES if support.level_of(path) is SupportLevel.IGNORED])
def test_a_key_without_effect_in_this_release_is_read_by_nothing(path: str) -> None:
    assert not readers(path)


@pytest.mark.parametrize("path", [path for path in LEAVES if (fact := effects.no_effect_of(path)) and fact.unless])
def test_a_key_that_works_beside_another_names_one_that_exists(path: str) -> None:
    fact = effects.no_effect_of(path)
    assert fact is not None
    assert field_of(fact.unless) is not None
    assert readers(path) or path == "model.fusions.ring_attention", "checks.parallel demands it, the size decides"


def test_the_reader_of_attributes_finds_no_access_where_there_is_none(tmp_path: Path) -> None:
    """The test above can fail: a name that only looks like a key is no access."""
    file = tmp_path / "module.py"
    file.write_text("def f(config: TrainingConfig, other):\n    other.zero1\n    config.trainer.lnc\n")
    assert set(reads([file])) == {("TrainingConfig", "trainer"), ("TrainerConfig", "lnc")}


VALUES: Final[dict[str, tuple[Any, ...]]] = {
    "model.fusions.softmax": (True,), "neuron_experimental_compress_rg": (True,),
    "aync_exec_max_inflight_requests": (7,), "bucket_size_collectives": (9,), "compiler_cache_url": ("/cache",),
    "neuron_rt_exec_timeout": (77,), "precision.type": ("bf16SR", "mixed_precision"),
    "precision.neuron_rt_stochastic_rounding_en": (True,), "trainer.lnc": (1,),
    "compiler_flags": ("-O1",),
}  # fmt: skip
BARE: Final = tuple(f"~{path}" for path in VALUES if "." not in path and f"\n{path}:" in f"\n{LLAMA}")


@pytest.mark.parametrize("path", environment.VARIABLES)
def test_the_variables_of_a_key_are_those_that_its_value_changes(path: str) -> None:
    def variables(*changes: str) -> dict[str, str]:
        kind = "manual" if path.startswith("precision.") and path != "precision.type" else "fp32"
        base = config(*BARE, "model.fusions.softmax=false", f"precision.type={kind}", *changes)
        return {one.name: one.value for one in environment.derive(base)}

    before, names = variables(), set[str]()
    for value in VALUES[path]:
        after = variables(f"+{path}={value}")
        names |= {name for name in before | after if before.get(name) != after.get(name)}
    assert names == set(environment.VARIABLES[path])


ON_CPU: Final = (
    "exp_manager.checkpoint_callback_params.model_parallel_size, model.fusions.softmax, "
    "model.fusions.flash_attention, compiler_flags, compiler_cache_url, neuron_experimental_compress_rg"
)


def test_keys_without_effect_are_one_note_that_lists_them() -> None:
    (note,) = effects.check(config(), "cpu")
    assert (note.code, note.severity, note.key) == ("NTJ-4004", Severity.NOTE, "")
    assert note.message == f"These keys have no effect on cpu: {ON_CPU}."


def test_on_neuron_the_keys_of_its_compiler_take_effect() -> None:
    (note,) = effects.check(config(), "neuron")
    assert "compiler_flags" not in note.message
    assert "model.fusions.flash_attention" in note.message


def test_a_key_at_its_default_is_not_listed() -> None:
    changes = ("model.fusions.softmax=false", "model.fusions.flash_attention=false", "compiler_flags=''",
               "~compiler_cache_url", "~neuron_experimental_compress_rg",
               "~exp_manager.checkpoint_callback_params.model_parallel_size")  # fmt: skip
    assert effects.check(config(*changes), "cpu") == ()


@pytest.mark.parametrize(
    ("change", "key", "cause"),
    [
        ("+exp_manager.resume_past_end=true", "exp_manager.resume_past_end", "exp_manager.resume_if_exists=true"),
        ("+model.qkv_linear=true", "model.qkv_linear", "+distributed_strategy.kv_replicator=2"),
        ("+model.fusions.ring_attention=true", "model.fusions.ring_attention",
         "distributed_strategy.context_parallel_size=2"),
        ("+data.seq_length=8192", "data.seq_length", "+model_alignment_strategy.sft.packing=false"),
    ],
)  # fmt: skip
def test_a_key_that_works_beside_another_is_listed_without_it(change: str, key: str, cause: str) -> None:
    without = ("~distributed_strategy.kv_replicator", "exp_manager.resume_if_exists=false",
               "model.fusions.flash_attention=false")  # fmt: skip
    alone, beside = config(*without, change), config(*without, change, cause)
    assert key in effects.check(alone, "cpu")[0].message
    assert key not in effects.check(beside, "cpu")[0].message


def test_what_another_finding_is_about_is_not_listed_again() -> None:
    loaded = load_text(LLAMA, ["+exp_manager.create_preemption_callback=false"])
    assert loaded.config is not None
    assert "create_preemption" in effects.check(loaded.config, "cpu")[0].message
    assert "create_preemption" not in effects.check(loaded.config, "cpu", loaded.findings)[0].message


@pytest.mark.parametrize("device", DEVICES)
def test_there_are_words_for_every_key(device: str) -> None:
    for path, info in all_paths():
        if section_of(info) is None:
            assert effects.describe(path, device).startswith(("yes", "no: ", "only "))


@pytest.mark.parametrize(
    ("path", "device", "words"),
    [
        ("trainer.devices", "cpu", "yes"),
        ("model.fusions.softmax", "cpu", "no: only Neuron's compiler and runtime read it"),
        ("model.fusions.softmax", "neuron", "yes, sets NEURON_FUSE_SOFTMAX"),
        ("model.fusions.softmax", "xla", "yes, sets NEURON_FUSE_SOFTMAX"),
        ("model.compile", "neuron", "yes"),
        ("model.compile", "xla", "no: PyTorch/XLA compiles whole steps"),
        ("fusions.softmax", "neuron", "yes, sets NEURON_FUSE_SOFTMAX"),
        ("model.fusions.flash_attention", "neuron", "no: PyTorch chooses the attention kernel"),
        ("model.fusions.flash_attention", "cpu", "no: PyTorch chooses the attention kernel"),
        ("model.fusions.flash_attention", "xla", "yes"),
        ("model.transpose_nki_inputs", "cuda", "no: PyTorch chooses the attention kernel"),
        ("model.transpose_nki_inputs", "xla", "only beside model.fusions.flash_attention"),
        ("model.fusions.ring_attention", "cpu", "only beside distributed_strategy.context_parallel_size"),
        ("exp_manager.ema", "cpu", "no: any other value is refused"),
        ("trainer.benchmark", "cpu", "no: not in this release"),
        ("model.has_bias", "cpu", "only with model_source megatron"),
        ("data.tokenizer.type", "cpu", "only with model_source megatron or fine-tuning"),
    ],
)
def test_the_words_say_what_a_key_does_where(path: str, device: str, words: str) -> None:
    assert effects.describe(path, device) == words
