"""The modules joined into one script."""

from __future__ import annotations

import pytest

from dashboard.joined_modules import joined


def test_each_module_is_there_once_and_before_who_imports_it() -> None:
    script = joined(
        {
            "page": 'import { two, THREE } from "./b.js";\nimport { one } from "./a.js";\n\none(two(THREE));\n',
            "a": "// What it is for.\nexport function one(x) {\n  return x;\n}\n",
            "b": 'import { one } from "./a.js";\nexport const THREE = one(3); // 3\nexport async function two() {}\n',
            "unused": "export function never() {}",
        },
        "page",
    )
    assert script == (
        "const $a = (() => {\nfunction one(x) {\nreturn x;\n}\nreturn { one };\n})();\n"
        "const $b = (() => {\nconst { one } = $a;\nconst THREE = one(3);\nasync function two() {}\n"
        "return { THREE, two };\n})();\n"
        "const $page = (() => {\nconst { two, THREE } = $b;\nconst { one } = $a;\none(two(THREE));\n"
        "return {  };\n})();\n"
    )


@pytest.mark.parametrize(
    "line", ['import * as all from "./a.js";', "export default 1;", "export { a };", 'import "./a.js";']
)
def test_what_it_cannot_join_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="page.js, line 1"):
        joined({"page": line, "a": ""}, "page")


def test_modules_in_a_circle_are_refused() -> None:
    circle = {"a": 'import { b } from "./b.js";', "b": 'import { a } from "./a.js";'}
    with pytest.raises(ValueError, match="a, b import each other in a circle"):
        joined(circle, "a")
