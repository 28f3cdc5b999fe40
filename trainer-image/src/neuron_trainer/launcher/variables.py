"""Variables that change the configuration: those of NxDT's scripts, and a data module."""

from collections.abc import Mapping

from neuron_api import contract

_COMPILE, _STEPS = "COMPILE", "TRAIN_ITERS"

_COMPILES = (
    "trainer.max_steps=10",
    "exp_manager.create_tensorboard_logger=False",
    "exp_manager.create_checkpoint_callback=False",
)


def overrides(environ: Mapping[str, str]) -> tuple[str, ...]:
    """`COMPILE=1`: ten steps that leave nothing; `TRAIN_ITERS=n` with `COMPILE=0`: n steps."""
    compiles, steps, module = (environ.get(name) for name in (_COMPILE, _STEPS, contract.ENV_DATA_MODULE))
    own = (data_module(module),) if module else ()
    if compiles == "1":
        return (*_COMPILES, *own)
    return (f"trainer.max_steps={steps}", *own) if compiles == "0" and steps else own


def data_module(name: str) -> str:
    """Samples come from this class."""
    return f"data.data_module={name}"
