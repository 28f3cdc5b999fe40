"""A stage of PyTorch's pipelines that asks the others for the shapes of what they send once, and through the hosts.

In evaluation it keeps no outputs, where PyTorch's keeps those of all micro-batches until the next step: logits, in the
last stage.
"""

from copy import copy
from typing import Any, Final

import torch
import torch.distributed as dist
from torch.distributed import P2POp
from torch.distributed.pipelining import PipelineStage

from neuron_trainer.parallel import hosts

_HOST: Final = torch.device("cpu")


class HostedStage(PipelineStage):
    """PyTorch's stage runs its module once to learn the shapes, and again whenever training and evaluation alternate.

    Here what training needs is kept, and serves evaluation too. All stages learn it at the same time, so none has to
    ask the others whether they know (in PyTorch a tensor of the device that is sent and read).
    """

    def forward_one_chunk(self, fwd_chunk_id: int, *arguments: Any, **named: Any) -> Any:
        """Compute a micro-batch; see PyTorch's."""
        output = super().forward_one_chunk(fwd_chunk_id, *arguments, **named)
        if self.is_last and not self.has_backward:
            del self.fwd_cache[fwd_chunk_id]
        return output

    def get_fwd_send_ops(self, fwd_chunk_id: int) -> list[P2POp]:
        """Return the sends of a micro-batch's output; asked for once."""
        if self.is_last:
            return []
        operations = super().get_fwd_send_ops(fwd_chunk_id)
        if not self.has_backward:
            del self.fwd_cache[fwd_chunk_id]
        return operations

    def _warmup_forward_vote(self, has_backward: bool, received_acc: torch.Tensor | None = None) -> torch.Tensor:
        del has_backward, received_acc
        return torch.tensor(int(self._user_meta.is_complete_for_forward()))

    def _warmup_backward_result(self, received_result: torch.Tensor | None = None) -> torch.Tensor:
        assert received_result is not None, "this process's own vote"
        return received_result

    def _prepare_backward_infra(self, *arguments: Any, **named: Any) -> Any:
        result = super()._prepare_backward_infra(*arguments, **named)
        self._user_meta = copy(self._stage_meta)
        return result

    def _send_meta(self, meta: Any, dst_stage: int) -> None:
        target = self._resolve_peer_global_rank(dst_stage)
        dist.send_object_list([meta], dst=target, group=hosts.group(), device=_HOST)

    def _recv_meta(self, src_stage: int) -> Any:
        metas: list[Any] = [None]
        source = self._resolve_peer_global_rank(src_stage)
        dist.recv_object_list(metas, src=source, group=hosts.group(), device=_HOST)
        return metas[0]
