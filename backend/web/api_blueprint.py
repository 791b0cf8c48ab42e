"""Endpoints that describe themselves when somebody asks for the description, and not at every start."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask_openapi3 import blueprint
from flask_openapi3.openapi import OpenAPI
from flask_openapi3.types import ParametersTuple
from werkzeug.routing import Rule

Pause = Callable[[], object]


class Route(Rule):
    """The library's, but what makes its address is compiled when one is first asked for, which of most is never.

    Compiling them takes two thirds of the time that an application of a hundred endpoints takes to make.
    """

    def _compile_builder(self, append_unknown: bool = True) -> Callable[..., tuple[str, str]]:
        attribute = "_build_unknown" if append_unknown else "_build"
        compile_now = super()._compile_builder

        def compiled_first(_: Rule, **values: Any) -> tuple[str, str]:
            builder = compile_now(append_unknown).__get__(self, None)
            setattr(self, attribute, builder)
            made: tuple[str, str] = builder(**values)
            return made

        return compiled_first


class APIBlueprint(blueprint.APIBlueprint):
    """The library's, but it makes no JSON schema before `describe`: those of a server take a second."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._operations: list[tuple[str, Callable[..., Any], dict[str, Any]]] = []

    def describe(self, pause: Pause) -> None:
        """Describe every operation, with a pause after each. Again, also at the same time, it is the same."""
        for rule, function, told in self._operations:
            super()._collect_openapi_info(rule, function, **told)
            pause()

    def _collect_openapi_info(self, rule: str, func: Callable[..., Any], **told: Any) -> ParametersTuple:
        self._operations.append((rule, func, told))
        return super()._collect_openapi_info(rule, func, doc_ui=False)


class DescribedApplication(OpenAPI):
    """The library's application, which asks its endpoints for their descriptions when it is asked for its own."""

    url_rule_class = Route

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._apis: list[APIBlueprint] = []

    def register_api(self, api: blueprint.APIBlueprint, **options: Any) -> None:
        super().register_api(api, **options)
        if isinstance(api, APIBlueprint):
            self._apis.append(api)

    def describe(self, pause: Pause) -> None:
        """Describe every endpoint; `pause` gives other requests a turn where one thread answers all."""
        for api in self._apis:
            api.describe(pause)

    def description(self) -> dict[str, Any]:
        """The document, in OpenAPI's words, of what was described. For one caller at a time."""
        for api in self._apis:
            for tag in api.tags:
                if tag.name not in self.tag_names:
                    self.tags.append(tag)
                    self.tag_names.append(tag.name)
            self.paths.update(api.paths)
            self.components_schemas.update(api.components_schemas)
        self.generate_spec_json()  # type: ignore[no-untyped-call]
        described: dict[str, Any] = self.spec_json
        return described
