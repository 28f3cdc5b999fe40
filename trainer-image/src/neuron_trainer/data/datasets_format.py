"""What `datasets.save_to_disk` wrote, without importing datasets: with pandas that takes 0.8 s in each process.

Only the plain case: the rows as they were saved, without a view of them. For everything else, None: ask `datasets`.
"""

import json
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.ipc

SPLIT: Final = "train"
"""Of several, the one that is read."""
_VIEW: Final = ("_format_type", "_format_columns", "_indices_data_files", "_indices_files")
"""Keys of its state that change what the rows are."""


def table(folder: Path) -> Any:
    """The mapped rows, of the split `train` where there are several; a pyarrow.Table.

    Raises:
        OSError, ValueError: a file is missing or is none of these.
    """
    place = folder / SPLIT if (folder / "dataset_dict.json").is_file() else folder
    state = place / "state.json"
    if not state.is_file() or not (place / "dataset_info.json").is_file():
        return None
    content = json.loads(state.read_text())
    files = [one["filename"] for one in content.get("_data_files", ())]
    if not files:
        raise ValueError("it has no rows")
    if any(content.get(key) for key in _VIEW):
        return None
    return pa.concat_tables([pa.ipc.open_stream(pa.memory_map(str(place / name))).read_all() for name in files])
