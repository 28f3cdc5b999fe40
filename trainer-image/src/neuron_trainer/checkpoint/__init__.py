"""Complete-or-absent checkpoints (B-10).

`layout` names the files, `manifest` describes them, `tensors` says what is in them, `writer` and `reader` move them,
`catalog` finds and verifies, `retention` deletes, `rng` keeps the random generators.
"""

from .catalog import Candidate, complete, verify
from .manifest import Manifest

__all__ = ["Candidate", "Manifest", "complete", "verify"]
