"""`model.compile`: what is refused before a start, and masks of a graph."""

from pathlib import Path

import pytest
import torch

from neuron_api.derive import hardware as derived
from neuron_trainer import errors
from neuron_trainer.errors import InputError
from neuron_trainer.models.blocks import dropout
from neuron_trainer.models.blocks.dropout import Dropout
from neuron_trainer.models.blocks.seeds import SeedQueue, halves
from neuron_trainer.parallel.expert import token_shuffle
from neuron_trainer.parallel.native.data import data_parallel
from neuron_trainer.preflight import early, preflight

from .conftest import alone, typed


@pytest.mark.parametrize(
    ("chosen", "device", "backend"),
    [
        ("auto", "cpu", None), ("auto", "neuron", "neuron"), ("auto", "cuda", "inductor"),
        ("eager", "neuron", None), ("aot_eager", "cpu", "aot_eager"), ("inductor", "neuron", "inductor"),
    ],
)  # fmt: skip
def test_the_key_or_the_device_decides(chosen: str, device: str, backend: str | None, tiny: Path) -> None:
    assert derived.compiler_of(typed(alone(tiny, tiny, model__compile=chosen)), device) == backend


def test_a_backend_that_is_not_there_is_refused(tiny: Path) -> None:
    [finding] = preflight.check_compiler(typed(alone(tiny, tiny, model__compile="neuron")), "cpu")
    assert (finding.key, finding.severity) == ("model.compile", "error")
    assert "no compiler 'neuron'" in finding.message
    assert finding.remedy == "Use auto, eager, aot_eager or inductor."


def test_inductor_without_a_compiler_for_what_it_writes_is_refused(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = typed(alone(tiny, tiny, model__compile="inductor"))
    assert preflight.check_compiler(config, "cpu") == []
    monkeypatch.setenv("CXX", "no-such-compiler")
    [finding] = preflight.check_compiler(config, "cpu")
    assert "needs a C++ compiler, and 'no-such-compiler' is not on PATH" in finding.message


@pytest.mark.parametrize("chosen", ["auto", "eager", "aot_eager"])
def test_others_are_taken(chosen: str, tiny: Path) -> None:
    assert preflight.check_compiler(typed(alone(tiny, tiny, model__compile=chosen)), "cpu") == []


def test_the_seeds_of_a_pass_are_those_that_its_masks_would_draw() -> None:
    """And as many numbers are taken from the generator, so what is drawn after it is the same."""
    modules = [Dropout(0.3), Dropout(0.0), Dropout(0.5)]
    states = torch.ones(7, 5)
    modules[2].stream = 11

    def masks(queue: SeedQueue | None) -> list[torch.Tensor]:
        torch.manual_seed(5)
        if queue is not None:
            queue.fill()
        for module in modules:
            module.queue = queue
        return [*(module(states) for module in modules), torch.rand(1)]

    for eager, compiled in zip(masks(None), masks(SeedQueue(modules)), strict=True):
        assert torch.equal(eager, compiled)
    modules[0].eval(), modules[2].eval()
    queue = SeedQueue(modules)
    queue.fill()
    assert queue.seeds is None


@pytest.mark.parametrize("probability", [0.1, 0.5])
def test_a_devices_mask_is_the_same_for_a_seed_and_its_tensor_and_drops_that_share(probability: float) -> None:
    like, seed = torch.ones(300, 400), 2**61 + 12345
    factors = dropout._hashed(like, probability, seed)
    assert torch.equal(factors, dropout._hashed(like, probability, halves(torch.tensor(seed))))
    share = (factors == 0).float()
    sigma = (probability * (1 - probability) / like.numel()) ** 0.5
    assert abs(share.mean() - probability) < 4 * sigma
    assert factors.max() == pytest.approx(1 / (1 - probability))
    neighbour = (dropout._hashed(like, probability, seed + 1) == 0).float()
    assert abs((share * neighbour).mean() - probability**2) < 0.01, "masks of neighbouring seeds are independent"
    assert abs((share[:, 1:] * share[:, :-1]).mean() - probability**2) < 0.01, "and so are neighbouring elements"


@pytest.mark.parametrize("tokens", [1, 2, 30, 32, 62, 512])
def test_a_devices_order_of_tokens_is_a_permutation_and_another_for_each_seed(tokens: int) -> None:
    device = torch.device("cpu")  # any that has int32
    seeds = [2**61 + number for number in range(40)]
    orders = [token_shuffle._computed(tokens, seed, 0, device) for seed in seeds]
    for seed, order in zip(seeds, orders, strict=True):
        assert order.sort().values.tolist() == list(range(tokens))
        assert torch.equal(order, token_shuffle._computed(tokens, halves(torch.tensor(seed)), 0, device))
        assert tokens < 30 or not torch.equal(order, token_shuffle._computed(tokens, seed, 8, device))
    assert tokens < 30 or len({tuple(order.tolist()) for order in orders}) == len(seeds)
    means = torch.stack(orders).double().mean(dim=0)
    assert tokens < 30 or (means - (tokens - 1) / 2).abs().max() < 5 * tokens / (12 * len(seeds)) ** 0.5


def test_a_bucket_divides_no_layer_that_is_compiled() -> None:
    module = torch.nn.Module()
    module.layers = torch.nn.ModuleList(
        torch.nn.Sequential(*(torch.nn.Linear(512, 512, bias=False) for _ in range(3))) for _ in range(2)
    )
    names = ["layers.0", "layers.1"]  # of 3 MiB each
    assert [len(unit) for unit in data_parallel.units(module, names, 2)] == [2, 2, 2]
    assert data_parallel.units(module, names, 2, is_compiled=True) == [[module.layers[0]], [module.layers[1]]]
    assert data_parallel.units(module, names, 6, is_compiled=True) == [[module.layers[0], module.layers[1]]]


def test_what_cannot_be_compiled_is_a_sentence_with_the_way_out() -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no such instruction")

    with pytest.raises(Exception, match="no such instruction") as caught:
        torch.compile(lambda value: value + 1, backend=fail)(torch.zeros(1))
    text = errors.compiler_refusal(caught.value)
    assert text is not None
    sentence = text.splitlines()[0]
    assert "no such instruction" in sentence and sentence.endswith("report the stack in the log.")
    assert "Set model.compile: eager" in sentence


@pytest.mark.parametrize(
    ("text", "is_refusal"),
    [
        ("Bad StatusOr access: INTERNAL: RunNeuronCCImpl: error condition error != 0", True),
        ("RunNeuronCCImpl: [Errno 28] No space left on device", False),
        ("RunNeuronCCImpl: <class 'subprocess.CalledProcessError'>: returned non-zero exit status 70", True),
        ("RunNeuronCCImpl: <class 'OSError'>: [Errno 61] No data available: '/fsx/neuron_cache/x'", False),
        ("RunNeuronCCImpl: <class 'FileNotFoundError'>: [Errno 2]: 'neuronx-cc'", False),
        ("RunNeuronCCImpl: <class 'botocore.exceptions.EndpointConnectionError'>: could not connect", False),
        ("RunNeuronCCImpl: <class 'subprocess.CalledProcessError'>: died with <Signals.SIGHUP: 1>", False),
        ("RunNeuronCCImpl: <class 'RuntimeError'>: Got a cached failed neff at MODULE_1. Will skip", False),
        ('Compilation error occurred on Neuron for operation=torch_compile; error message="COMPILATION FAILED"', True),
        ('NRT Execution error occurred on Neuron for operation=add error message="NRT EXECUTION FAILED"', False),
        ("Connection closed by peer", False),
    ],
)
def test_what_a_compiler_says_of_the_machine_is_no_refusal_of_the_model(text: str, is_refusal: bool) -> None:
    assert (errors.compiler_refusal(RuntimeError(text)) is not None) is is_refusal


def test_a_long_command_line_leaves_the_beginning_and_the_end_of_a_compilers_words() -> None:
    text = errors.compiler_refusal(RuntimeError("RunNeuronCCImpl failed\n" + "x" * 99_999 + "\nthe cause"))
    assert text is not None and len(text) < 2500
    assert "RunNeuronCCImpl failed" in text and text.endswith("the cause")


@pytest.mark.parametrize("chosen", ["auto", "eager", "aot_eager"])
def test_a_compile_phase_that_leaves_nothing_is_refused(chosen: str, tiny: Path) -> None:
    with pytest.raises(InputError, match="nothing that is compiled on cpu") as caught:
        early.check_compiler(typed(alone(tiny, tiny, model__compile=chosen)), "cpu")
    assert caught.value.findings[0].key == "model.compile"
    early.check_compiler(typed(alone(tiny, tiny, model__compile="auto")), "neuron")
    early.check_compiler(typed(alone(tiny, tiny, model__compile="inductor")), "cpu")
