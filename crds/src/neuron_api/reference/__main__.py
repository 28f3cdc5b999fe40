"""Entry point: one page to stdout; `fields` reads the page that holds the tables from stdin."""

import sys

from . import config, fields, findings, reasons

_PAGES = {"config": config.page, "findings": findings.page, "reasons": reasons.page}

if __name__ == "__main__":
    match sys.argv[1:]:
        case [name] if name in _PAGES:
            sys.stdout.write(_PAGES[name]())
        case ["fields"]:
            sys.stdout.write(fields.fill(sys.stdin.read()))
        case _:
            sys.exit(f"usage: python -m neuron_api.reference {'|'.join(_PAGES)}|fields <PAGE")
