"""What the tests of both descriptions do: walk through one, hold its examples to it, and fuzz the server with it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs

Described = dict[str, Any]


def operations(description: Described) -> Iterator[tuple[str, str, Described]]:
    """Every operation, as method, path and its description."""
    for path, item in description["paths"].items():
        for method, operation in item.items():
            yield method, path, operation


def check_parameter_examples(description: Described) -> None:
    """Every required parameter has an example, and every example meets its schema."""
    for _, path, operation in operations(description):
        for parameter in operation.get("parameters", ()):
            schema = parameter["schema"] | {"components": description["components"]}
            assert "example" in schema or not parameter["required"], (path, parameter["name"])
            if "example" in schema:
                jsonschema_rs.validate(schema, schema["example"])


LONGEST_FUZZ_S = 600
"""For `pytest.mark.timeout`: half a minute on a quiet machine, and nothing is judged by how busy another is."""


def fuzz(url: str, folder: Path, config: str, *options: str, api_key: str, max_examples: int) -> None:
    """Let schemathesis send what it likes to a live server: every answer is as described, and none a 5xx.

    Args:
        folder: an empty one, for `config`, the content of its schemathesis.toml.
    """
    (folder / "schemathesis.toml").write_text(config)
    run = subprocess.run(
        [
            str(Path(sys.executable).with_name("schemathesis")),
            *("--config-file", "schemathesis.toml"),
            *("run", f"{url}/openapi.json"),
            *("--header", f"Authorization: Bearer {api_key}"),
            *("--phases", "examples,coverage,fuzzing,stateful"),
            *("--max-examples", str(max_examples)),
            *("--seed", "1"),
            *options,
            "--no-color",
            "--continue-on-failure",
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=LONGEST_FUZZ_S - 30,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert " passed" in run.stdout
