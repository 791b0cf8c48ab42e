"""Runs due work of a data centre on this machine: commands that its owner has written into a file, and no others.

    python backend/runner.py runner.toml [--check]

`runner.example.toml` is a file to begin with, docs/runner.md says the rest. --check reads the file and ends.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from execution.runner.configuration import ConfigurationRefused, read_configuration, read_key
from execution.runner.journal import DirectoryInUse
from execution.runner.runner import Runner
from log_lines import log_lines_to
from printable import LONGEST_REASON, printable

log = logging.getLogger("runner")

REFUSED = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until Ctrl-C or SIGTERM; returns the exit status."""
    parser = argparse.ArgumentParser(prog="runner.py", description="Runs due work of a data centre on this machine.")
    parser.add_argument("file", type=Path, help="what may be run here, such as runner.toml")
    parser.add_argument("--check", action="store_true", help="read the file, say whether it is right, and end")
    options = parser.parse_args(arguments)
    log_lines_to(sys.stderr)
    try:
        configuration = read_configuration(options.file)
        if options.check:
            if configuration.key_file is not None:
                read_key(configuration.key_file)
            log.info("%s is right: %s", options.file, ", ".join(sorted(configuration.templates)))
            return 0
        runner = Runner(configuration)
    except (ConfigurationRefused, DirectoryInUse) as error:
        sys.stderr.write(f"runner: {printable(error, LONGEST_REASON)}\n")
        return REFUSED
    except OSError as error:
        sys.stderr.write(f"runner: {printable(error, LONGEST_REASON)}\n")
        return REFUSED
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: runner.stop())
    return runner.run()


if __name__ == "__main__":
    sys.exit(main())
