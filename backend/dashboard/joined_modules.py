"""The dashboard's modules as one script, so that a page asks for one file and not for one after the other.

The files are modules of the language as they stand, of the plain kind: functions and constants are exported by name,
and imported by name from a file beside. Joined, each is a function that is called once and answers what it exports.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_IMPORT = re.compile(r'^import \{ ([\w, ]+) \} from "\./(\w+)\.js";$')
_REMARK = re.compile(r"(?<=[;{]) // .*$")
_EXPORT = re.compile(r"^export (?=(?:async )?function (\w+)|const (\w+) =)")


def joined(modules: Mapping[str, str], entry: str) -> str:
    """The script that does what the module `entry` does; without indents and lines that are comments.

    Args:
        modules: each module's text by its name, without the ending.

    Raises:
        ValueError: a module imports or exports in another way, or they import each other in a circle.
    """
    parts: dict[str, str] = {}
    _join(modules, entry, parts, ())
    return "".join(parts.values())


def after_first_frame(script: str) -> str:
    """The script, run once the page has been drawn: it is whole without. Nothing is drawn of one that is hidden."""
    return f"(document.hidden ? setTimeout : requestAnimationFrame)(() => setTimeout(() => {{\n{script}}}));\n"


def _join(modules: Mapping[str, str], name: str, parts: dict[str, str], importing: tuple[str, ...]) -> None:
    if name in importing:
        raise ValueError(f"the modules {', '.join(importing)} import each other in a circle")
    lines: list[str] = []
    exported: list[str] = []
    for number, written in enumerate(modules[name].splitlines(), 1):
        line = _REMARK.sub("", written.strip())
        if not line or line.startswith("//"):
            continue
        if wanted := _IMPORT.match(line):
            if wanted[2] not in parts:
                _join(modules, wanted[2], parts, (*importing, name))
            line = f"const {{ {wanted[1]} }} = ${wanted[2]};"
        elif found := _EXPORT.match(line):
            exported.append(found[1] or found[2])
            line = line[found.end() :]
        elif line.startswith(("import ", "export ")):
            raise ValueError(f"{name}.js, line {number}: only names of functions and constants go from file to file")
        lines.append(line)
    lines.append(f"return {{ {', '.join(exported)} }};")
    parts[name] = "\n".join((f"const ${name} = (() => {{", *lines, "})();", ""))
