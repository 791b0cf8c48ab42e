from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import flask_openapi3.utils
import pytest
from flask import url_for
from pydantic import BaseModel
from werkzeug.routing import BuildError, Map, Rule

from served import Client, served
from web.api_blueprint import APIBlueprint, Route
from web.application import answer, make_application


class Plant(BaseModel):
    name: str


class Asked(BaseModel):
    limit: int = 3


@pytest.fixture
def schemas_made(monkeypatch: pytest.MonkeyPatch) -> list[type[BaseModel]]:
    made: list[type[BaseModel]] = []
    library = flask_openapi3.utils.get_model_schema

    def recorded(model: type[BaseModel], *arguments: Any, **more: Any) -> dict[str, Any]:
        made.append(model)
        return library(model, *arguments, **more)

    monkeypatch.setattr(flask_openapi3.utils, "get_model_schema", recorded)
    return made


@pytest.fixture
def pauses() -> list[None]:
    return []


@pytest.fixture
def garden(schemas_made: list[type[BaseModel]], pauses: list[None]) -> Iterator[Client]:
    app = make_application("Garden", "", "0", pause=lambda: pauses.append(None))
    plants = APIBlueprint("plants", __name__, url_prefix="/plants")

    @plants.get("", responses={200: Plant})
    def _list(query: Asked) -> Any:
        return answer([Plant(name="thyme")] * query.limit)

    @plants.post("")
    def _add(body: Plant) -> Any:
        return answer(body, 201)

    app.register_api(plants)
    with served(app) as client:
        yield client


def test_no_schema_is_made_before_the_description_is_asked_for(
    garden: Client, schemas_made: list[type[BaseModel]], pauses: list[None]
) -> None:
    assert len(garden.get("/plants?limit=2").json()) == 2
    assert garden.post("/plants", {}).status_code == 422
    assert schemas_made == []
    described = garden.get("/openapi.json").json()
    assert set(described["paths"]["/plants"]) == {"get", "post"}
    assert described["components"]["schemas"]["Plant"]["properties"]["name"]["type"] == "string"
    assert schemas_made.count(Plant) == 2
    assert len(pauses) >= 2
    made = len(schemas_made)
    assert garden.get("/openapi.json").json() == described
    assert len(schemas_made) == made


def test_those_who_ask_for_the_first_description_at_the_same_time_get_the_same(garden: Client) -> None:
    with ThreadPoolExecutor(8) as askers:
        got = list(askers.map(lambda _: garden.get("/openapi.json").content, range(8)))
    assert set(got) == {got[0]}


@pytest.mark.parametrize(
    ("rule", "values", "address"),
    [
        ("/", {}, "/"),
        ("/plants/<plant>", {"plant": "thyme & sage"}, "/plants/thyme%20&%20sage"),
        ("/plants/<plant>/leaves/<int:number>", {"plant": "thyme", "number": 3}, "/plants/thyme/leaves/3"),
        (
            "/files/<path:file>",
            {"file": "a/b c", "more": "one & two", "none": None},
            "/files/a/b%20c?more=one+%26+two",
        ),
    ],
)
def test_addresses_are_as_the_library_makes_them(rule: str, values: dict[str, Any], address: str) -> None:
    for route in (Route, Rule):
        places = Map([route(rule, endpoint="place")]).bind("pylon.example")
        for _ in range(2):
            assert places.build("place", values) == address
            assert places.build("place", values, append_unknown=False) == address.partition("?")[0]
        for missing in values.keys() & {"plant", "number", "file"}:
            with pytest.raises(BuildError):
                places.build("place", {name: value for name, value in values.items() if name != missing})


def test_no_address_is_compiled_before_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []
    library = Rule._compile_builder

    def recorded(rule: Rule, append_unknown: bool = True) -> Any:
        compiled.append(rule.rule)
        return library(rule, append_unknown)

    monkeypatch.setattr(Rule, "_compile_builder", recorded)
    app = make_application("Garden", "", "0")
    app.add_url_rule("/plants/<plant>", "plant")
    assert compiled == []
    with app.test_request_context():
        assert {url_for("plant", plant="thyme") for _ in range(3)} == {"/plants/thyme"}
    assert compiled == ["/plants/<plant>"]
