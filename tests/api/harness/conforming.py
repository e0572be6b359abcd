"""Every answer that a test gets in this process, held against the published contract: status, media type, JSON."""

import gzip
import inspect
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import jsonschema
from flask import Flask, Response, request, request_finished

from api.app import create_app
from api.openapi.document import build
from api.runs.context import PREFIX
from service.config.settings import RunConfig

PROBLEM = "application/problem+json"
NO_ROUTE = {401, 403, 404, 405, 413, 421, 429}
"""How a request is refused that leads to no operation of the document."""


class Contract:
    """The document as the server publishes it, the same for all applications of this code."""

    def __init__(self) -> None:
        self.complaints: list[str] = []
        with tempfile.TemporaryDirectory() as folder:
            self.document = build(create_app(RunConfig(data_root=Path(folder))))

    @contextmanager
    def watching(self) -> Iterator[list[str]]:
        """Look at all answers meanwhile; yields what is to be complained of."""
        self.complaints = []
        request_finished.connect(self._look, weak=False)
        try:
            yield self.complaints
        finally:
            request_finished.disconnect(self._look)

    @cached_property
    def _operations(self) -> dict[str, dict[str, Any]]:
        paths = self.document["paths"].values()
        return {operation["operationId"]: operation for methods in paths for operation in methods.values()}

    def _look(self, app: Flask, response: Response, **_: Any) -> None:
        if request.method != "OPTIONS" and _is_ours(app):
            asked = f"{request.method} {request.full_path} -> {response.status_code}"
            self.complaints += [f"{asked}: {complaint}" for complaint in self._complaints(response)]

    def _complaints(self, response: Response) -> Iterator[str]:
        endpoint = (request.endpoint or "").removeprefix(PREFIX)
        operation = self._operations.get(endpoint.replace(".", "_"))
        if operation is None:
            yield from self._refusal(response)
            return
        declared = self._declared(operation, str(response.status_code))
        if declared is None:
            yield f"the status is not declared; there are: {', '.join(operation['responses'])}"
            return
        yield from (
            f"the header {name} is missing"
            for name, header in declared.get("headers", {}).items()
            if header.get("required") and name not in response.headers
        )
        media_types = declared.get("content", {})
        if response.status_code == 304:
            return
        if response.mimetype not in media_types:
            yield f"{response.mimetype} is not declared; there are: {', '.join(media_types) or 'none'}"
        elif _holds_json(response):
            where = (endpoint.replace(".", "_"), str(response.status_code), response.mimetype)
            yield from _violations(self._validator(*where), response)

    def _refusal(self, response: Response) -> Iterator[str]:
        if response.status_code not in NO_ROUTE or response.mimetype != PROBLEM:
            yield f"{response.mimetype}, where no operation is"
        elif request.method != "HEAD":
            yield from _violations(self._problem_validator, response)

    @lru_cache  # noqa: B019 - there is one for all tests
    def _validator(self, operation_id: str, status: str, media_type: str) -> jsonschema.Draft202012Validator:
        declared = self._declared(self._operations[operation_id], status) or {}
        return self._resolving(declared["content"][media_type]["schema"])

    def _declared(self, operation: dict[str, Any], status: str) -> dict[str, Any] | None:
        response = operation["responses"].get(status)
        return None if response is None else resolved(self.document, response)

    @cached_property
    def _problem_validator(self) -> jsonschema.Draft202012Validator:
        return self._resolving({"$ref": "#/components/schemas/Problem"})

    def _resolving(self, schema: dict[str, Any]) -> jsonschema.Draft202012Validator:
        return jsonschema.Draft202012Validator({**schema, "components": self.document["components"]})


def resolved(document: dict[str, Any], response: dict[str, Any]) -> dict[str, Any]:
    """A response of the document, or what it refers to."""
    if "$ref" in response:
        response = document["components"]["responses"][response["$ref"].rpartition("/")[2]]
    return response


def _is_ours(app: Flask) -> bool:
    """Whether the request led to the API: not to a file, a route that a test added, or an application of a test."""
    if "leitstand" not in app.extensions or request.endpoint == "static":
        return False
    view = app.view_functions.get(request.endpoint or "")
    return view is None or inspect.unwrap(view).__module__.startswith("api.")


def _holds_json(response: Response) -> bool:
    """Whether the whole body is one JSON text; a range of one is none."""
    is_json = response.mimetype == "application/json" or response.mimetype.endswith("+json")
    return is_json and request.method != "HEAD" and response.status_code != 206 and not response.is_streamed


def _violations(validator: jsonschema.Draft202012Validator, response: Response) -> Iterator[str]:
    body = response.get_data()
    found = validator.iter_errors(json.loads(gzip.decompress(body) if response.content_encoding == "gzip" else body))
    yield from (f"at {error.json_path}: {error.message[:300]}" for error in found)
