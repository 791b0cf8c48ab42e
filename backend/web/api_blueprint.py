"""Endpoints that describe themselves when somebody asks for the description, and not at every start."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask_openapi3 import blueprint
from flask_openapi3.openapi import OpenAPI
from flask_openapi3.types import ParametersTuple

Pause = Callable[[], object]


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
