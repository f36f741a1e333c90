"""The requests and answers of the JSON API, as OpenAPI describes them."""

from __future__ import annotations

from typing import Any

_Schema = dict[str, Any]


def _object(description: str, properties: _Schema) -> _Schema:
    return {"type": "object", "description": description, "properties": properties}


def _by_level(description: str, schema: _Schema) -> _Schema:
    return {"type": "object", "description": description, "additionalProperties": schema}


def _json(description: str, schema: _Schema) -> _Schema:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


_STRING, _NUMBER, _INTEGER = {"type": "string"}, {"type": "number"}, {"type": "integer"}
_MAYBE_NUMBER = {"type": ["number", "null"]}

_ANSWER = {
    "path": {"type": "string", "description": "the file's name"},
    "error": {"type": "string", "description": "why there is no prediction; empty if there is one"},
    "classes": _by_level("level -> the class's path from the root, such as Apparel/Topwear", _STRING),
    "probabilities": _by_level("level -> the calibrated probability of that class", _NUMBER),
    "answer": {
        "type": ["string", "null"],
        "description": "the finest class that is sure enough, or unsure; null if there is no prediction",
    },
    "top": _by_level(
        "level -> the likeliest classes, each with its probability",
        {"type": "array", "items": {"type": "object", "properties": {"class": _STRING, "probability": _NUMBER}}},
    ),
}

_MODEL = {
    "name": {"type": "string", "description": "of the run or export"},
    "fashion_jax": {"type": "string", "description": "the version"},
    "levels": {"type": "array", "items": _STRING, "description": "from coarse to fine"},
    "labels": _by_level("level -> the names of its classes", {"type": "array", "items": _STRING}),
    "parents": _by_level(
        "level -> the number of each class's parent at the level above", {"type": "array", "items": _INTEGER}
    ),
    "canvas": _object("the size of the images that the model takes", {"height": _INTEGER, "width": _INTEGER}),
    "resize": {"type": "string", "description": "how an image fits the canvas: crop, letterbox or stretch"},
    "thresholds": _by_level("level -> lowest probability of a sure answer; null where none is sure", _MAYBE_NUMBER),
    "best": {"type": "integer", "description": "how many classes `top` names at each level"},
    "calibrated": {
        "type": ["boolean", "null"],
        "description": "whether the probabilities are; null if it is not known",
    },
    "heat_maps": {"type": "boolean", "description": "whether /api/explain works"},
    "limits": _by_level("bytes of a file and of a request, files in a request", _INTEGER),
}

_REFUSAL = _object("", {"detail": {"type": "string", "description": "the reason, in a sentence"}})


def _refusals(*statuses: int) -> dict[int | str, _Schema]:
    reasons = {
        400: "The request is broken, or has no file.",
        403: "The request is for another host, or another site's page has sent it.",
        404: "The model has no heat maps.",
        408: "The request takes too long to arrive.",
        413: "The request is too large, or has too many files.",
        415: "The request is no multipart/form-data.",
        503: "The server is busy; the header Retry-After says for how many seconds.",
    }
    return {status: _json(reasons[status], _REFUSAL) for status in statuses}


def _files(name: str, schema: _Schema) -> _Schema:
    form = {"type": "object", "properties": {name: schema}, "required": [name]}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": form}}}}


_FILE = {"type": "string", "format": "binary"}

# Arguments of FastAPI.add_api_route.
PREDICT: _Schema = {
    "summary": "Classify images",
    "openapi_extra": _files("files", {"type": "array", "items": _FILE}),
    "responses": {
        200: _json(
            "An answer for each file, in the order of the files.", {"type": "array", "items": _object("", _ANSWER)}
        ),
        **_refusals(400, 403, 408, 413, 415, 503),
    },
}
EXPLAIN: _Schema = {
    "summary": "Show what speaks for the classes of an image",
    "openapi_extra": _files("file", _FILE),
    "responses": {
        200: _json(
            "The answer, with a picture for each level.",
            _object("", _ANSWER | {"heat_maps": _by_level("level -> a JPEG as a data URL", _STRING)}),
        ),
        **_refusals(400, 403, 404, 408, 413, 415, 503),
    },
}
MODEL: _Schema = {
    "summary": "Describe the model",
    "responses": {200: _json("The model.", _object("", _MODEL)), **_refusals(403)},
}
