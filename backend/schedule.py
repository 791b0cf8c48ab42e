"""The name of `ingest.schedule` until version 0.1. Kept for one release, for scripts that import it."""

from __future__ import annotations

import sys

sys.modules[__name__] = sys.modules["ingest.schedule"]
