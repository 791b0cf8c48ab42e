"""Coverage of programs that tests start. Telling greenlets apart costs much: only those do it that serve by them."""

from __future__ import annotations

import base64
import json
import os

SETTING = "COVERAGE_PROCESS_CONFIG"
WITH_GREENLETS = frozenset({"BG.py", "BPP.py"})


def measuring(program: str) -> dict[str, str]:
    """The variables by which coverage measures a program of ours that is started with them: none without coverage."""
    config = os.environ.get(SETTING)
    if config is None or program not in WITH_GREENLETS:
        return {} if config is None else {SETTING: config}
    asking = json.loads(base64.b64decode(config)) | {"concurrency": ["thread", "gevent"]}
    return {SETTING: base64.b64encode(json.dumps(asking).encode()).decode()}
