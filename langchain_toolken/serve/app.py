"""The server: the guards, and the routes over `completions`."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles

from langchain_toolken._version import __version__
from langchain_toolken.serve import completions
from langchain_toolken.serve.completions import Served
from langchain_toolken.serve.connection import GONE, EventStream, while_connected
from langchain_toolken.serve.errors import RequestError, answer_errors, error_response, request_error
from langchain_toolken.serve.guards import BodyGuard, CrowdGuard, SafeHeaders, TokenGuard
from langchain_toolken.serve.inspection import add_inspection
from langchain_toolken.serve.protocol import ChatCompletion, ChatRequest, Model, ModelList

MOST_BYTES = 8 << 20
"""Most bytes of a request's body: room for some 10,000 tools in OpenAI's form."""
MOST_REQUESTS = 256
"""Most requests that are answered at once. Each has a thread; further ones are told to come back."""
PATIENCE = 60.0
"""Seconds that a client has to send a body, or to make room for the next piece of an answer."""

PAGE = Path(__file__).parent / "page"
"""What the browser gets: HTML, a style sheet and a script, and nothing from elsewhere."""


def make_app(
    served: Served,
    *,
    token: str | None = None,
    most_bytes: int = MOST_BYTES,
    most_requests: int = MOST_REQUESTS,
    patience: float = PATIENCE,
) -> FastAPI:
    """Make the ASGI app.

    Args:
        served: What is served.
        token: What clients have to give as their API key; None for none, and then only names of this machine are
            answered to.
        most_bytes: Most bytes of a request's body.
        most_requests: Most requests that are answered at once.
        patience: Seconds that a client has to send a body, or to make room for the next piece of an answer.
    """
    # No pages of FastAPI's own: they load scripts from elsewhere.
    app = FastAPI(title="toolken serve", version=__version__, docs_url=None, redoc_url=None)
    answer_errors(app)

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(PAGE / "index.html")

    app.mount("/page", StaticFiles(directory=PAGE))
    add_inspection(app, served)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/v1/models")
    async def models() -> ModelList:
        return ModelList(data=[Model(id=served.model_id, created=served.created)])

    @app.get("/v1/models/{name:path}")
    async def model(name: str) -> Model:
        if name != served.model_id:
            raise RequestError(404, f"there is no model {name[:100]!r} here", code="model_not_found", param="model")
        return Model(id=served.model_id, created=served.created)

    @app.post("/v1/chat/completions", response_model=ChatCompletion)
    async def chat_completions(body: ChatRequest, request: Request) -> Response:
        try:
            if not body.stream:
                whole = await while_connected(request, completions.complete(served, body))
                return Response(status_code=GONE) if whole is None else JSONResponse(whole.model_dump())
            chunks = completions.stream(served, body)
            first = await while_connected(request, anext(chunks))
            if first is None:
                return Response(status_code=GONE)
        except Exception as error:  # noqa: BLE001 - every error is answered in OpenAI's form
            return error_response(request_error(error))
        return EventStream(first, chunks)

    # The last one is the outermost.
    app.add_middleware(BodyGuard, most=most_bytes, patience=patience)
    app.add_middleware(CrowdGuard, most=most_requests)
    app.add_middleware(TokenGuard, token=token)
    app.add_middleware(SafeHeaders)
    return app
