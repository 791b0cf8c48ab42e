"""What a user can set, call, run or look into stands in a document: README.md, CONTRIBUTING.md or a page of docs/."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from api_application import create_app
from beckn.network.settings import NetworkSettings
from beckn_orders import market
from database.build_sql import SOURCES
from database.postgres import PostgresDatabase
from openapi_description import operations
from running_gateway import running_gateway
from served import served
from settings import Settings, load_settings

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
METRICS = {
    name
    for file in (ROOT / "backend").rglob("*metrics.py")
    for name in re.findall(r'"(pylon_\w+)"', file.read_text(encoding="utf-8"))
}
TEXT = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)


def told(name: str) -> bool:
    """Whether a document has the name, and not only as a part of another."""
    return re.search(rf"(?<![\w/.-]){re.escape(name)}(?![\w-])", TEXT) is not None


@pytest.mark.parametrize("setting", [*Settings.model_fields, *NetworkSettings.model_fields])
def test_every_setting_is_told(setting: str) -> None:
    assert f"`{setting.upper()}`" in TEXT
    assert setting.upper() in (ROOT / ".env.example").read_text()


def endpoints(description: dict[str, Any]) -> set[str]:
    return {path for _, path, _ in operations(description)}


def assert_each_is_told(paths: set[str]) -> None:
    assert paths
    for path in paths:
        pattern = re.sub(r"\\{\w+\\}", r"[\\w.:{}<>-]+", re.escape(path))
        assert re.search(rf"{pattern}(?![\w/])", TEXT), path


def test_every_endpoint_of_the_api_is_told(postgres: PostgresDatabase) -> None:
    with served(create_app(postgres, load_settings({}))) as client:
        assert_each_is_told(endpoints(client.get("/openapi.json").json()))


def test_every_endpoint_of_the_gateway_is_told(postgres: PostgresDatabase, tmp_path: Path) -> None:
    with running_gateway(postgres, keys_dir=tmp_path) as gateway:
        assert_each_is_told(endpoints(gateway.get("/openapi.json").json()))


def test_every_endpoint_of_the_provider_is_told(postgres: PostgresDatabase, tmp_path: Path) -> None:
    with market(postgres, tmp_path, start=False) as shop, served(shop.platform.app) as client:
        assert_each_is_told(endpoints(client.get("/openapi.json").json()))


def test_every_target_of_make_is_told() -> None:
    targets = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert {"run", "test", "soak"} <= targets
    for target in targets:
        assert told(f"make {target}"), target


def test_every_command_is_told() -> None:
    """A program that is started by its path, by a user or by someone who works on the code."""
    programs = [
        file
        for file in (ROOT / "backend").rglob("*.py")
        if '__name__ == "__main__"' in file.read_text()
        and file.name not in {"decision_process.py", "document.py"}  # started by BG.py, by `make docs`
    ]
    assert len(programs) >= 8
    for program in programs:
        assert told(str(program.relative_to(ROOT))), program


def test_every_table_is_told() -> None:
    sql = "\n".join(file.read_text() for file in SOURCES.rglob("*.sql"))
    tables = set(re.findall(r"create table if not exists public\.(\w+)", sql))
    assert len(tables) >= 24
    for table in tables:
        assert f"`{table}`" in TEXT, table


@pytest.mark.parametrize("name", sorted(METRICS))
def test_every_metric_is_told(name: str) -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    assert f"`{name}`" in page or f"`{name}_total`" in page
