"""Lightning without matplotlib, transformers and rich: a third of all that a worker imports, and no step needs them.

Lightning imports torchmetrics for two classes, and torchmetrics imports the first two, where they are installed, for
plots and for scores of texts; rich is for a progress bar of its own. While Lightning is imported they count as not
installed. Then torchmetrics is forgotten: who imports it afterwards, as a data module of a user may, has all of it, and
Lightning keeps the classes that it has.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError
from typing import Any, Final

from lightning_utilities.core import imports

LEFT_OUT: Final = ("matplotlib", "transformers", "rich")


def import_lightning() -> None:
    """Once in the forkserver, before anything else imports Lightning."""
    with _not_installed(*(name for name in LEFT_OUT if name not in sys.modules)):
        import lightning.pytorch  # noqa: F401
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchmetrics"]:
        del sys.modules[name]


@contextmanager
def _not_installed(*packages: str) -> Iterator[None]:
    """For the question that both libraries ask (`RequirementCache`), and for `import`."""
    asked = vars(imports)
    version = asked["_version"]

    def version_of(name: str) -> Any:
        if name in packages:
            raise PackageNotFoundError(name)
        return version(name)

    modules: dict[str, Any] = sys.modules
    modules.update(dict.fromkeys(packages))  # None: an import fails
    asked["_version"] = version_of
    try:
        yield
    finally:
        asked["_version"] = version
        for name in packages:
            del modules[name]
