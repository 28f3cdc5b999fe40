"""Parameters of LoRA adapters: A is r x in, B is out x r, for each linear that `target_modules` names."""

from neuron_api.config import PeftConfig

from .architecture import Architecture


def parameters_of_layer(model: Architecture, peft: PeftConfig, tensor_parallel: int) -> int:
    """Return the adapter parameters of one layer on one process; the side that the linear splits over TP is also
    split."""
    hidden, query, kv, ffn = model.hidden, model.query_width, model.kv_width, model.ffn
    column = {
        "q_proj": (hidden, query), "k_proj": (hidden, kv), "v_proj": (hidden, kv),
        "gate_proj": (hidden, ffn), "up_proj": (hidden, ffn),
    }  # fmt: skip
    joined = {"qkv_proj": ("q_proj", "k_proj", "v_proj"), "gate_up_proj": ("gate_proj", "up_proj")}
    row = {"o_proj": (query, hidden), "down_proj": (ffn, hidden)}
    count = 0
    for target in peft.target_modules:
        for name in joined.get(target, (target,)):
            if name in column:
                count += peft.lora_rank * (column[name][0] + column[name][1] // tensor_parallel)
            elif name in row:
                count += peft.lora_rank * (row[name][0] // tensor_parallel + row[name][1])
    return count
