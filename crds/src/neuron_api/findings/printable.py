"""Make untrusted text, such as a key of a configuration or a line of a pod's log, safe to log, store and show."""


def printable(text: str) -> str:
    """Return the text with every control character escaped: `\\x1b` (a terminal would obey it), `\\n`, `\\u202e`."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def clip(text: str, length: int) -> str:
    """Return the first `length` characters, printable; the cost is bounded by the length, too."""
    return printable(text[:length])[:length]


def printable_lines(text: str) -> str:
    """Return printable text with its line breaks."""
    return "\n".join(printable(line) for line in text.split("\n"))


def clip_lines(text: str, length: int) -> str:
    """Return clipped text with its line breaks."""
    return printable_lines(text[:length])[:length]
