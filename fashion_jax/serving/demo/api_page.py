"""Renders the page about the API from its OpenAPI description, without any script."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jinja2

_TEMPLATE = Path(__file__).parent / "assets" / "docs.html"


class Field(NamedTuple):
    """A value in an answer, indented by its depth: its name, its type in words, and what it means."""

    name: str
    kind: str
    description: str


def api_page(description: Mapping[str, Any], address: str) -> bytes:
    """Returns an HTML page about an API.

    Args:
        description: its OpenAPI object.
        address: the URL of its server, for examples.
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(_TEMPLATE.read_text("utf-8"))
    page = template.render(info=description["info"], operations=list(_operations(description)), address=address)
    return page.encode("utf-8")


def _operations(description: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            form = operation.get("requestBody", {}).get("content", {}).get("multipart/form-data", {})
            yield {
                "method": method.upper(),
                "path": path,
                "summary": operation["summary"],
                "description": operation["description"],
                "files": next(iter(form.get("schema", {}).get("properties", {})), ""),
                "fields": list(_fields(_schema(operation["responses"]["200"]))),
                "refusals": {
                    status: answer["description"]
                    for status, answer in operation["responses"].items()
                    if status not in ("200", "422")
                },
            }


def _schema(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    schema: Mapping[str, Any] = answer["content"]["application/json"]["schema"]
    return schema.get("items", schema)


def _fields(schema: Mapping[str, Any]) -> Iterator[Field]:
    for name, value in schema["properties"].items():
        yield Field(name, _kind(value), value.get("description", ""))


def _kind(schema: Mapping[str, Any]) -> str:
    """Returns the type of a value in words."""
    if "items" in schema:
        return f"list of {_kind(schema['items'])}"
    if "additionalProperties" in schema:
        return f"{_kind(schema['additionalProperties'])} by level"
    if "properties" in schema:
        return f"object ({', '.join(schema['properties'])})"
    return str(schema["type"])
