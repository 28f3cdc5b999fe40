"""Documents in one sample that must not see each other give the logits that each gives alone."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from neuron_trainer.models.family import Family
from neuron_trainer.models.spec import Prediction

from .megatron import GPT, MOE, section

VOCABULARY = 96
LENGTHS = (11, 1, 17, 7)
JSON = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 80, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
}  # fmt: skip
HF: dict[str, dict[str, Any]] = {
    "llama": {"model_type": "llama"},
    "mistral": {"model_type": "mistral", "sliding_window": 5},
    "mixtral": {"model_type": "mixtral", "num_local_experts": 4, "num_experts_per_tok": 2},
}
MEGATRON: dict[str, dict[str, Any]] = {
    "learned positions": GPT,
    "rotary positions": {"num_kv_heads": 2},
    "window": {"sliding_window_size": 5},
    "experts": {"moe": {**MOE, "capacity_factor": None}},
}
FAMILIES = (*HF, *MEGATRON)


def model_of(name: str, **keys: Any) -> nn.Module:
    """With random weights."""
    if name in HF:
        family = Family.from_json({**JSON, **HF[name]}, section())
    else:
        family = Family.from_config(section("megatron", **MEGATRON[name], **keys), VOCABULARY)
    torch.manual_seed(1)
    model = family.on_meta().to_empty(device="cpu")
    family.tie(model)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.2 + ("norm" in key))
    return model


def logits(model: nn.Module, *given: Any, **named: Any) -> Tensor:
    found = model(*given, **named)
    return found.logits if isinstance(found, Prediction) else found


def sample() -> tuple[Tensor, dict[str, Tensor]]:
    """Two rows; in the second one the documents come the other way round."""
    rows = LENGTHS, LENGTHS[::-1]
    ids = torch.randint(0, VOCABULARY, (2, sum(LENGTHS)), generator=torch.Generator().manual_seed(3))
    positions = torch.stack([torch.cat([torch.arange(length) for length in row]) for row in rows])
    numbers = [torch.repeat_interleave(torch.arange(len(row)), torch.tensor(row)) for row in rows]
    return ids, {"positions": positions, "documents": torch.stack(numbers)}


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_packed_documents_have_the_logits_of_each_alone(name: str) -> None:
    model, (ids, further) = model_of(name), sample()
    packed = logits(model, ids, **further)
    for row, lengths in enumerate((LENGTHS, LENGTHS[::-1])):
        alone = [logits(model, one[None])[0] for one in ids[row].split(lengths)]
        torch.testing.assert_close(packed[row], torch.cat(alone), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(packed, logits(model, ids), rtol=1e-3), "the documents must matter"


@pytest.mark.parametrize("name", ["llama", "learned positions"])
def test_documents_that_only_begin_their_positions_anew_still_see_each_other(name: str) -> None:
    model, (ids, further) = model_of(name), sample()
    changed = ids.clone()
    changed[0, 0] = (changed[0, 0] + 1) % VOCABULARY

    def differs(**named: Tensor) -> list[int]:
        both = (logits(model, one, **named)[0] for one in (ids, changed))
        return (next(both) != next(both)).any(dim=-1).nonzero().flatten().tolist()  # type: ignore[no-any-return]

    assert differs(positions=further["positions"])[-1] >= LENGTHS[0]
    assert differs(**further)[-1] < LENGTHS[0]


def test_positions_that_go_on_and_one_document_are_the_plain_sample() -> None:
    ids, _ = sample()
    plain = {"positions": torch.arange(ids.shape[1]).expand_as(ids), "documents": torch.zeros_like(ids)}
    for name in FAMILIES:
        model = model_of(name)
        torch.testing.assert_close(logits(model, ids, **plain), logits(model, ids), rtol=1e-5, atol=1e-5)


def test_dropout_in_attention_sees_no_other_document() -> None:
    """With the probability 0 of being dropped, the path with the probabilities in memory is the kernel's."""
    model, (ids, further) = model_of("rotary positions", attention_dropout=1e-9), sample()
    wanted = logits(model.eval(), ids, **further)
    torch.testing.assert_close(logits(model.train(), ids, **further), wanted, rtol=1e-5, atol=1e-5)
