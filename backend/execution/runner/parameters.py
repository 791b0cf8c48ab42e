"""The one way in which what came over the network reaches a command: as variables that the template expects.

A value never becomes a part of the command, a path or an argument, and is nothing that a template did not ask for.
"""

from __future__ import annotations

from collections.abc import Mapping

from execution.runner.configuration import Template
from execution.runner.processes import MARKER
from printable import printable

LONGEST_VALUE = 1000
MOST_PARAMETERS = 32
PREFIX = "PYLON_PARAM_"
KEPT_VARIABLES = ("PATH", "HOME", "LANG", "TZ")
"""What a command finds of the runner's own environment. A template may state others in their place."""


class ParametersRefused(Exception):
    """A run cannot be made of what was submitted; the message says which value, and why."""


def command_environment(
    template: Template, given: Mapping[str, str], own: Mapping[str, str], *, mark: str, run_id: int
) -> dict[str, str]:
    """The whole environment of a run's command.

    Args:
        given: the submission's parameters.
        own: the runner's environment.
        mark: by which the run's processes are known.

    Raises:
        ParametersRefused: a parameter is missing, is none of the template's, or does not match.
    """
    kept = {name: own[name] for name in KEPT_VARIABLES if name in own}
    checked = {PREFIX + name.upper(): value for name, value in _checked(template, given).items()}
    ours = {MARKER: mark, f"{MARKER}_ID": str(run_id)}
    return {**kept, **template.environment, **checked, **ours}


def _checked(template: Template, given: Mapping[str, str]) -> dict[str, str]:
    if unknown := sorted(given.keys() - template.parameters.keys()):
        raise ParametersRefused(f"the template takes no parameter {printable(unknown[0])}")
    values = {}
    for name, parameter in template.parameters.items():
        value = given.get(name, parameter.default)
        if value is None:
            raise ParametersRefused(f"the parameter {name} is missing")
        if name in given:
            _check_value(name, value)
            if parameter.pattern.fullmatch(value) is None:
                raise ParametersRefused(
                    f"the parameter {name}={_shown(value)} does not match {_of(parameter.pattern)}"
                )
        values[name] = value
    return values


def _check_value(name: str, value: str) -> None:
    if len(value) > LONGEST_VALUE:
        raise ParametersRefused(f"the parameter {name} is longer than {LONGEST_VALUE} characters")
    if "\x00" in value:
        raise ParametersRefused(f"the parameter {name} holds a NUL")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise ParametersRefused(f"the parameter {name} is no text in UTF-8") from None


def _shown(value: str) -> str:
    return printable(repr(value), 100)


def _of(pattern: object) -> str:
    return printable(getattr(pattern, "pattern", ""), 100)
