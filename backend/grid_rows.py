"""The name of `ingest.rows` until version 0.1. Kept for one release, for scripts that import it."""

from __future__ import annotations

import sys
from importlib import import_module

sys.modules[__name__] = import_module("ingest.rows")
