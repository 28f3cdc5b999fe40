"""Names in `transformers`, which has a tensor for each projection of each expert; ours has them stacked.

`block_sparse_moe.experts.3.w1` is gate_proj[3], `w3` up_proj, `w2` down_proj; of the others only the router's differs.
"""

from typing import Final

from neuron_trainer.models.hf_tensor import HFTensor

from .config import MixtralConfig

_PROJECTIONS: Final = {"gate_proj": "w1", "up_proj": "w3", "down_proj": "w2"}


def hf_tensor(name: str, config: MixtralConfig) -> HFTensor:
    """Of the parameter `name`."""
    layer, is_experts, projection = name.partition(".mlp.experts.")
    if not is_experts:
        return HFTensor((name.replace(".mlp.gate.", ".block_sparse_moe.gate."),))
    prefix, last = f"{layer}.block_sparse_moe.experts", _PROJECTIONS[projection]
    return HFTensor(
        tuple(f"{prefix}.{expert}.{last}.weight" for expert in range(config.moe.num_experts)), is_stack=True
    )
