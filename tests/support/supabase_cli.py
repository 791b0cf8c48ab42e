"""Supabase's own command line: its linter on a database of ours, and access tokens as its Auth server signs them."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict

from freezing_proxy import freezing_proxy
from postgrest_server import ROOT

INSTALLED = ROOT / "node_modules" / "@supabase" / "cli-linux-x64" / "bin" / "supabase"
SIGNING_KEYS = Path("supabase") / "signing_keys.json"
PATIENCE_S = 120


@dataclass(frozen=True)
class Advice:
    """One finding of the linter."""

    name: str
    level: str
    about: str


@dataclass(frozen=True)
class SupabaseCli:
    """The command in a project of its own. It sends nothing home, and needs no account and no Docker."""

    project: Path

    def advice(self, conninfo: str) -> list[Advice]:
        """What Supabase's linter finds in a database behind a Unix socket; the linter itself wants TCP."""
        parts = conninfo_to_dict(conninfo)
        with freezing_proxy(Path(str(parts["host"])) / ".s.PGSQL.5432") as relay:
            url = f"postgresql://{parts['user']}@127.0.0.1:{relay.port}/{parts['dbname']}?sslmode=disable"
            told = self._run("db", "advisors", "--db-url", url, "--type", "all", "--level", "info")
        return [_read(finding) for finding in json.loads(told)]

    def new_signing_key(self) -> dict[str, Any]:
        """Another ES256 key of the project's, as a private JWK; the first that was made signs."""
        self._run("gen", "signing-key", "--algorithm", "ES256", "--append", "--yes")
        key: dict[str, Any] = json.loads((self.project / SIGNING_KEYS).read_text())[-1]
        return key

    def access_token(self, subject: str, kid: str, payload: Mapping[str, Any]) -> str:
        """A signed-in user's token for an hour, with these claims besides those that Supabase puts into all."""
        return self._run(
            *("gen", "bearer-jwt", "--role", "authenticated", "--sub", subject, "--valid-for", "1h"),
            *("--payload", json.dumps(payload)),
            answers=f"{kid}\n",
        ).strip()

    def _run(self, *arguments: str, answers: str = "") -> str:
        run = subprocess.run(
            [INSTALLED, *arguments, "--agent", "no"],
            cwd=self.project,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.project),
                "SUPABASE_TELEMETRY_DISABLED": "1",
                "DO_NOT_TRACK": "1",
            },
            input=answers,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        assert run.returncode == 0, run.stdout + run.stderr
        return run.stdout


@contextmanager
def supabase_cli() -> Iterator[SupabaseCli]:
    """The command; without it the test is skipped, except in CI, which installs it."""
    if not INSTALLED.exists():
        if os.environ.get("CI"):
            pytest.fail("Supabase's command line is not installed: `make test` does it, with npm")
        pytest.skip("Supabase's command line is not installed: `make test` does it, with npm")
    with tempfile.TemporaryDirectory(prefix="pylon-supabase-") as folder:
        project = Path(folder)
        (project / "supabase").mkdir()
        (project / "supabase" / "config.toml").write_text(
            'project_id = "pylon"\n[auth]\nsigning_keys_path = "./signing_keys.json"\n'
        )
        (project / SIGNING_KEYS).write_text("[]")
        yield SupabaseCli(project)


def _read(finding: dict[str, Any]) -> Advice:
    return Advice(finding["name"], finding["level"], finding.get("detail", ""))
