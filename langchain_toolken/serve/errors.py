"""Errors in OpenAI's form, and which error of ours is which."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from langchain_core.exceptions import ContextOverflowError, ModelInvalidRequestError
from starlette.exceptions import HTTPException

from langchain_toolken.decoding.engine import OutOfMemoryError
from langchain_toolken.errors import ToolkenError
from langchain_toolken.serve.protocol import ErrorAnswer, ErrorBody, ErrorKind
from langchain_toolken.tools.spec import ToolError

log = logging.getLogger(__name__)

_KINDS: dict[int, ErrorKind] = {401: "authentication_error", 429: "rate_limit_error"}
_CODES = {404: "not_found", 405: "method_not_allowed", 408: "timeout", 413: "request_too_large"}
_LONGEST = 500


class RequestError(ToolkenError):
    """A request that can't be answered.

    Args:
        status: The HTTP status.
        message: What is wrong, and the next step.
        code: A short name that programs can tell it by.
        param: The field at fault.
    """

    def __init__(self, status: int, message: str, *, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param


def request_error(error: Exception) -> RequestError:
    """Return what to tell a client of an error. Errors that are not the client's say nothing of the server's inside."""
    if isinstance(error, RequestError):
        return error
    if isinstance(error, ContextOverflowError):
        return RequestError(400, str(error), code="context_length_exceeded", param="messages")
    if isinstance(error, ToolError):
        return RequestError(400, str(error), code="invalid_tool", param="tools")
    if isinstance(error, ModelInvalidRequestError):
        return RequestError(400, str(error), code="invalid_value")
    if isinstance(error, OutOfMemoryError):
        return RequestError(503, "the server ran out of memory: shorten the messages", code="out_of_memory")
    log.error("a request failed", exc_info=error)
    return RequestError(500, "the server failed; its log says why", code="internal_error")


def error_body(error: RequestError) -> ErrorAnswer:
    """Return the JSON of an error."""
    kind = _KINDS.get(error.status, "server_error" if error.status >= 500 else "invalid_request_error")
    return ErrorAnswer(error=ErrorBody(message=str(error), type=kind, param=error.param, code=error.code))


def error_response(error: RequestError) -> JSONResponse:
    """Return the answer to a request that can't be answered."""
    headers = {401: {"WWW-Authenticate": "Bearer"}, 429: {"Retry-After": "1"}}.get(error.status)
    return JSONResponse(error_body(error).model_dump(), status_code=error.status, headers=headers)


def answer_errors(app: FastAPI) -> None:
    """Make all errors of an app answers in OpenAI's form."""

    async def invalid(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        return error_response(_of_validation(error.errors()))

    async def http(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        code = _CODES.get(error.status_code, "invalid_body")
        return error_response(RequestError(error.status_code, str(error.detail), code=code))

    async def other(_: Request, error: Exception) -> JSONResponse:
        return error_response(request_error(error))

    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(ToolkenError, other)


def _of_validation(errors: Sequence[dict[str, object]]) -> RequestError:
    first = errors[0]
    place = first.get("loc")
    parts = [str(part) for part in place[1:]] if isinstance(place, tuple) else []
    if first.get("type") == "json_invalid":
        return RequestError(400, "the body is not JSON", code="invalid_json")
    if not parts:
        return RequestError(
            400, "the body must be a JSON object, sent with Content-Type: application/json", code="invalid_body"
        )
    param = ".".join(parts)[:_LONGEST]
    return RequestError(400, f"{param}: {first.get('msg')}"[:_LONGEST], code="invalid_value", param=param)
