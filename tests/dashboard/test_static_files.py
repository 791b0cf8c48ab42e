"""The style sheet as it is sent says what the written one says."""

from __future__ import annotations

import pytest

from dashboard.static_files import StaticFiles, tight


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("/* why */\na {\n  color: red;\n}\n", "a{color:red;}"),
        ('a::before { content: ", ; {  }"; }', 'a::before{content:", ; {  }";}'),
        ("a b > c:hover,\nd :focus { margin: 0 auto }", "a b > c:hover,d :focus{margin:0 auto}"),
        ("@media (width > 1px) { a { inset: calc(1px + 2px) } }", "@media (width > 1px){a{inset:calc(1px + 2px)}}"),
        ('a { font: "A  B", "C" }', 'a{font:"A  B","C"}'),
    ],
)
def test_blanks_and_comments_go_and_strings_stay(written: str, sent: str) -> None:
    assert tight(written) == sent


def test_the_files_keep_their_budget() -> None:
    files = StaticFiles()
    assert files.size("page.js") <= 25_000
    assert files.size("dashboard.css") <= 25_000
