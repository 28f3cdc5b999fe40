"""The CustomResourceDefinition on a real API server."""

from pathlib import Path

import pytest

from .world import ROOT, World


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ("spec.config.trainer.lnc", "Physical NeuronCores per logical core"),
        ("spec.config.exp_manager.checkpoint_callback_params.save_top_k", "Keep the n best"),
        ("spec.storage.claimName", "PersistentVolumeClaim"),
        ("status.restarts.stepsLost", "done again"),
    ],
)
async def test_kubectl_explain_answers_for_keys_at_any_depth(world: World, field: str, words: str) -> None:
    assert words in " ".join(world.kubectl("explain", f"ntj.{field}").split())


async def test_client_side_apply_of_the_crd_changes_nothing_the_second_time(world: World) -> None:
    assert "unchanged" in world.kubectl("apply", "-f", str(ROOT / "crds"))


MANIFESTS = sorted(path.name for path in (ROOT / "examples").glob("*.yaml") if "\nkind: " in path.read_text())
"""Not the configurations that `neuron-train run` takes as they are."""


@pytest.mark.parametrize("example", MANIFESTS)
async def test_every_example_is_accepted(world: World, example: str) -> None:
    world.plane.kubectl("apply", "--dry-run=server", "-f", Path(ROOT / "examples" / example))  # in namespace default
