"""What every worker needs, imported once in the forkserver: a restarted worker is a fork, not 9 s of imports.

No device runtime may be initialised here and no thread started.
"""

import datasets  # noqa: F401
import torch.distributed.checkpoint
import torch.distributed.elastic.multiprocessing.api
import torch.distributed.fsdp
import torch.distributed.tensor.parallel  # noqa: F401

import neuron_trainer.loop.run
import neuron_trainer.worker  # noqa: F401
