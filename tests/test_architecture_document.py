"""What docs/architecture.md points at is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_leads_to_a_file(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_what_to_touch_is_there() -> None:
    rows = re.findall(r"^\| [^|]+ \| ([^|]*`[^|]+) \|[^|]*\|$", ARCHITECTURE, re.MULTILINE)
    assert len(rows) >= 15
    for row in rows:
        names = [name for name in re.findall(r"`([\w./*-]+)`", row) if name != "SCORER_VERSION"]
        first = next(ROOT.glob(names[0].rstrip("/")))
        folder = first if first.is_dir() else first.parent
        for name in names:
            assert [*ROOT.glob(name), *folder.glob(name)], name


def test_the_glossary_is_in_order_and_has_the_words_a_newcomer_meets() -> None:
    table = ARCHITECTURE[ARCHITECTURE.index("## Glossary") :]
    words = [row.split(" | ")[0].lower() for row in re.findall(r"^\| (.+) \|$", table, re.MULTILINE)][1:]
    assert words == sorted(words)
    listed = " ".join(words)
    for word in (
        "pue",
        "lease",
        "fencing token",
        "settlement period",
        "grid stress",
        "bap, bpp, bg",
        "deferral window",
    ):
        assert word in listed
