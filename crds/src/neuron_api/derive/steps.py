"""What a number of optimizer steps comes to: samples, and checkpoints before the last step."""


def total_samples(max_steps: int, global_batch: int) -> int | None:
    """Samples until `max_steps`; None when the steps are not bounded (-1)."""
    return max_steps * global_batch if max_steps > 0 else None


def saves_before_end(max_steps: int, every: int) -> int | None:
    """Regular checkpoints until `max_steps`; 0: only the save at the end leaves one. None: steps are not bounded."""
    if max_steps <= 0:
        return None
    return max_steps // every if every > 0 else 0
