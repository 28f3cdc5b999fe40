"""The trainer image of a job that names none: by accelerator, and on Trainium by what runs PyTorch there. Pure."""

from typing import Final

from neuron_api.findings.finding import Finding, error
from neuron_api.platform.instances import Stack, generation_of
from neuron_api.resource.spec import Accelerator, Platform
from neuron_operator.planning.options import Options

_KINDS: Final = {Accelerator.CPU: "cpu", Accelerator.CUDA: "cuda"}
"""Kinds of images of devices that have one each."""


def kind(platform: Platform) -> str:
    """Return the kind of image, a key of the Helm value trainerImages; without an instance type TorchNeuron's."""
    if platform.accelerator in _KINDS:
        return _KINDS[platform.accelerator]
    generation = generation_of(platform.instance_type)
    return generation.stack if generation else Stack.TORCHNEURON


def default(platform: Platform, options: Options) -> str:
    """Return the operator's image of that kind; empty if it has none."""
    return options.images.get(kind(platform), "")


def missing(platform: Platform) -> Finding:
    """Return the finding about a job without an image, of a kind that the operator has none of."""
    return error(
        "spec.image",
        f"it is not set, and the operator has no default image of the kind {kind(platform)}.",
        f"Set it, or the Helm value trainerImages.{kind(platform)}.",
    )
