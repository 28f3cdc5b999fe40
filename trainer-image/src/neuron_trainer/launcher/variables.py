"""Variables of NxDT's scripts that change the configuration (config-keys.md, section 11)."""

from collections.abc import Mapping

_COMPILE, _STEPS = "COMPILE", "TRAIN_ITERS"

_COMPILES = (
    "trainer.max_steps=10",
    "exp_manager.create_tensorboard_logger=False",
    "exp_manager.create_checkpoint_callback=False",
)


def overrides(environ: Mapping[str, str]) -> tuple[str, ...]:
    """`COMPILE=1`: ten steps that leave nothing; `TRAIN_ITERS=n` with `COMPILE=0`: n steps."""
    compiles, steps = environ.get(_COMPILE), environ.get(_STEPS)
    if compiles == "1":
        return _COMPILES
    return (f"trainer.max_steps={steps}",) if compiles == "0" and steps else ()
