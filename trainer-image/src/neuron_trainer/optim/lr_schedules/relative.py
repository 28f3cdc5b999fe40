"""adafactor's `relative_step` (arXiv:1804.04235, section 8): the rate follows from the number of the step alone."""


def relative(s: int, min_step: float, *, warmup_init: bool) -> float:
    """min(min_step, t^-0.5) with t = s + 1; with `warmup_init` min(1e-6 t, t^-0.5)."""
    t = s + 1
    return float(min(1e-6 * t if warmup_init else min_step, t**-0.5))
