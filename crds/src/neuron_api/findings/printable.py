"""Text of others, such as a key of a configuration or a line of a pod's: safe to log, to store and to show."""


def printable(text: str) -> str:
    """The text with every control character escaped: `\\x1b` (a terminal would obey it), `\\n`, `\\u202e`."""
    return text if text.isprintable() else "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def clip(text: str, length: int) -> str:
    """The first `length` characters, printable; the cost is bounded by the length too."""
    return printable(text[:length])[:length]


def printable_lines(text: str) -> str:
    """As `printable`, but line breaks stay."""
    return "\n".join(printable(line) for line in text.split("\n"))


def clip_lines(text: str, length: int) -> str:
    """As `clip`, but line breaks stay."""
    return printable_lines(text[:length])[:length]
