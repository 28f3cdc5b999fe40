"""One line per event: JSON for machines, text for people. Bodies of objects are never logged: they may hold secrets."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Literal

Format = Literal["json", "text"]


class _Json(logging.Formatter):
    """Keys as most log collectors expect them."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def configure(level: str, kind: Format) -> None:
    """kopf's loggers say something about every event: only what is wrong is wanted of them."""
    handler = logging.StreamHandler(sys.stderr)
    text = logging.Formatter("%(asctime)s %(levelname).1s %(name)s: %(message)s")
    handler.setFormatter(_Json() if kind == "json" else text)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in ("kopf", "kubernetes", "aiohttp", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)
