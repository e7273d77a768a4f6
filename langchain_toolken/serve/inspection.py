"""What the page asks for, below /toolken: the set, what fires for a request and why, and why another tool does not."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from functools import partial
from typing import Literal

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from langchain_core.messages import HumanMessage
from pydantic import BaseModel, ConfigDict, Field

from langchain_toolken.chat.calls import DecodedCall
from langchain_toolken.chat.explanation import Explanation, WhyNot
from langchain_toolken.chat.forced_call import stream_forced_call
from langchain_toolken.chat.why import Looked, NothingToExplainError, explain, look, why_not
from langchain_toolken.decoding.cancellation import in_thread, iterate_in_thread
from langchain_toolken.serve.completions import Served
from langchain_toolken.serve.connection import GONE, EventStream, while_connected
from langchain_toolken.serve.errors import RequestError
from langchain_toolken.tools.spec import ToolSpec
from langchain_toolken.training.report.records import Confusion

_KEPT = 4  # requests that were looked at last, so that "why not" needs no pass of the LM


class ServedTool(BaseModel):
    """A tool of the set.

    Attributes:
        name: Its name.
        signature: It as a typed call.
        summary: The first line of its description.
    """

    name: str
    signature: str
    summary: str


class ServedSet(BaseModel):
    """What the page shows before anything is asked.

    Attributes:
        model_id: The LM's name for clients.
        tools: The tools.
        confusions: Which tools were called for which on held-out demonstrations, the most frequent first; none where
            the set has no report.
        false_call_rate: The share of held-out positions without a call that got one, at the set's own operating point;
            None where that was not measured.
    """

    model_config = ConfigDict(protected_namespaces=())

    model_id: str
    tools: list[ServedTool]
    confusions: list[Confusion]
    false_call_rate: float | None


class Asking(BaseModel):
    """A request to look at."""

    model_config = ConfigDict(extra="forbid")

    request: str = Field(min_length=1)


class AskingWhyNot(Asking):
    """A tool that is not called for a request, and at which place of the answer; None for the one looked at."""

    tool: str
    place: int | None = None


class Forcing(Asking):
    """A tool that is to be called for a request."""

    tool: str


class ArgumentText(BaseModel):
    """A piece of a forced call's arguments.

    Attributes:
        text: Its text.
        allowed: How many tokens the grammar allowed in its place: 1 for text that it forced.
    """

    text: str
    allowed: int


class ArgumentEnd(BaseModel):
    """What comes after the last piece.

    Attributes:
        finish_reason: "length" for arguments that were cut off, else "stop".
        fault: Why they can't be used; None if they can.
    """

    finish_reason: Literal["stop", "length"]
    fault: str | None


class Inspector:
    """Looks at requests, and keeps the last few.

    Args:
        served: What is served.
    """

    def __init__(self, served: Served) -> None:
        self._served = served
        self._kept: OrderedDict[str, Looked] = OrderedDict()
        self._lock = threading.Lock()

    def looked(self, request: str) -> Looked:
        """Run the LM on a request, or take what is kept.

        Raises:
            RequestError: The LM does not run in this process.
        """
        with self._lock:
            if request in self._kept:
                self._kept.move_to_end(request)
                return self._kept[request]
        try:
            found = look(self._served.chat.decoding_setup(), [HumanMessage(request)])
        except NothingToExplainError as error:  # the LM runs elsewhere
            raise RequestError(501, str(error), code="not_explainable") from error
        with self._lock:
            self._kept[request] = found
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return found

    def explain(self, asking: Asking) -> Explanation:
        """Say what fires for a request."""
        return explain(self.looked(asking.request))

    def why_not(self, asking: AskingWhyNot) -> WhyNot:
        """Say why a tool does not fire.

        Raises:
            RequestError: There is no such tool, or no such place.
        """
        self._spec(asking.tool)
        looked = self.looked(asking.request)
        if asking.place is not None and not 0 <= asking.place < len(looked.margins):
            raise RequestError(400, f"the answer has the places 0 to {len(looked.margins) - 1}", param="place")
        return why_not(looked, asking.tool, asking.place)

    def force(self, forcing: Forcing) -> Iterator[ArgumentText | ArgumentEnd]:
        """Decode the arguments of a tool for a request, piece by piece.

        Raises:
            RequestError: There is no such tool, or the LM does not run in this process.
        """
        setup, messages = self._served.chat.decoding_setup(), [HumanMessage(forcing.request)]
        try:
            for piece in stream_forced_call(setup, messages, self._spec(forcing.tool)):
                if isinstance(piece, DecodedCall):
                    yield ArgumentEnd(finish_reason=piece.completion.finish_reason, fault=piece.error)
                else:
                    yield ArgumentText(text=piece.text, allowed=piece.allowed)
        except NothingToExplainError as error:
            raise RequestError(501, str(error), code="not_explainable") from error

    def _spec(self, tool: str) -> ToolSpec:
        if tool not in self._served.specs:
            raise RequestError(404, f"there is no toolken named {tool[:100]!r}", code="unknown_tool", param="tool")
        return self._served.specs[tool]


def served_set(served: Served) -> ServedSet:
    """Return what the page shows before anything is asked."""
    calibration = served.toolkens.calibration
    return ServedSet(
        model_id=served.model_id,
        tools=[
            ServedTool(name=spec.name, signature=spec.signature, summary=spec.summary) for spec in served.toolkens.specs
        ],
        confusions=served.confusions,
        false_call_rate=None if calibration is None else calibration.false_call_rate,
    )


def add_inspection(app: FastAPI, served: Served) -> None:
    """Add the routes to an app."""
    inspector = Inspector(served)

    @app.get("/toolken/set")
    async def the_set() -> ServedSet:
        return served_set(served)

    @app.post("/toolken/explain", response_model=Explanation)
    async def what_fires(asking: Asking, request: Request) -> Response:
        return _answer(await while_connected(request, in_thread(partial(inspector.explain, asking))))

    @app.post("/toolken/why", response_model=WhyNot)
    async def why(asking: AskingWhyNot, request: Request) -> Response:
        return _answer(await while_connected(request, in_thread(partial(inspector.why_not, asking))))

    @app.post("/toolken/force", response_model=None)
    async def force(forcing: Forcing, request: Request) -> Response:
        pieces = iterate_in_thread(partial(inspector.force, forcing))
        first = await while_connected(request, anext(pieces))
        return Response(status_code=GONE) if first is None else EventStream(first, pieces)


def _answer(found: Explanation | WhyNot | None) -> Response:
    # Nobody reads the answer to a client that left.
    return Response(status_code=GONE) if found is None else JSONResponse(found.model_dump(mode="json"))
