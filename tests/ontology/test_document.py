"""The ontology as a document: for agents over HTTP, and as a page that is kept true."""

from __future__ import annotations

from pathlib import Path

from ontology.document import ontology_document, ontology_markdown
from ontology.types import LINK_TYPES, OBJECT_TYPES

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "ontology.md"


def test_every_type_property_and_link_is_in_the_document() -> None:
    document = ontology_document()
    assert [object_type.name for object_type in document.object_types] == list(OBJECT_TYPES)
    assert len(document.link_types) == len(LINK_TYPES)
    for object_type in document.object_types:
        declared = OBJECT_TYPES[object_type.name]
        assert [about.name for about in object_type.properties] == list(declared.model_fields)
        assert all(about.description for about in object_type.properties)


def test_properties_say_their_type_words_and_unit() -> None:
    types = {object_type.name: object_type for object_type in ontology_document().object_types}
    properties = {about.name: about for about in types["DataCentre"].properties}
    assert (properties["total_capacity_mw"].type, properties["total_capacity_mw"].unit) == ("number", "MW")
    assert properties["status"].values == ["ACTIVE", "MAINTENANCE", "OFFLINE", "CONSTRAINED"]
    assert properties["operator"].nullable
    assert not properties["pue"].nullable
    assert properties["created_at"].type == "time"


def test_the_page_in_docs_is_the_one_the_declarations_make() -> None:
    assert PAGE.read_text(encoding="utf-8") == ontology_markdown(), "run: make docs"
