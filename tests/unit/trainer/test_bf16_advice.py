"""bf16 on a CPU without units for it: nine times slower with the same file, and nothing said so.

Looked at: x86 with and without AVX-512 and AMX, Arm, a system without /proc/cpuinfo, every precision type.
"""

from pathlib import Path

import pytest

from neuron_trainer.preflight import early

from .conftest import alone, typed

X86 = "processor\t: 0\nmodel name\t: some\nflags\t\t: fpu sse2 avx2 {}\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd {}\n"


@pytest.mark.parametrize(
    ("text", "has"),
    [
        (X86.format("avx512f"), False), (X86.format("avx512f avx512_bf16"), True), (X86.format("amx_bf16"), True),
        (ARM.format(""), False), (ARM.format("bf16 i8mm"), True), ("", None), ("processor: 0\n", None),
    ],
)  # fmt: skip
def test_the_units_are_read_from_the_list_of_features(text: str, has: bool | None) -> None:
    assert early.has_bf16(text) is has


@pytest.mark.parametrize(
    ("kind", "is_advised"),
    [("mixed_precision", True), ("mixed_precisionSR", True), ("bf16SR", True), ("autocast", True), ("fp32", False)],
)
def test_a_bf16_type_is_advised_against_and_fp32_is_not(kind: str, is_advised: bool) -> None:
    config = typed(alone(Path("/tiny"), Path("/log"), precision={"type": kind}))
    advice = early.bf16_advice(config, X86.format(""))
    assert (advice is not None) == is_advised
    if advice is not None:
        assert advice.startswith(f"precision.type: {kind} computes in bf16")
        assert "Set precision.type to fp32" in advice


@pytest.mark.parametrize("text", [X86.format("avx512_bf16"), ""])
def test_nothing_is_said_where_the_cpu_has_units_or_is_not_known(text: str) -> None:
    config = typed(alone(Path("/tiny"), Path("/log"), precision={"type": "mixed_precision"}))
    assert early.bf16_advice(config, text) is None
