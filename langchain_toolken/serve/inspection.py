"""What the page asks for, below /toolken: the set, what fires for a request and why, and why another tool does not."""

from __future__ import annotations

import threading
from collections import OrderedDict
from functools import partial

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from langchain_core.messages import HumanMessage
from pydantic import BaseModel, ConfigDict, Field

from langchain_toolken.chat.explanation import Explanation, WhyNot
from langchain_toolken.chat.why import Looked, NothingToExplainError, explain, look, why_not
from langchain_toolken.decoding.cancellation import in_thread
from langchain_toolken.serve.completions import Served
from langchain_toolken.serve.connection import while_connected
from langchain_toolken.serve.errors import RequestError
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
        if asking.tool not in self._served.toolkens:
            named = asking.tool[:100]
            raise RequestError(404, f"there is no toolken named {named!r}", code="unknown_tool", param="tool")
        looked = self.looked(asking.request)
        if asking.place is not None and not 0 <= asking.place < len(looked.margins):
            raise RequestError(400, f"the answer has the places 0 to {len(looked.margins) - 1}", param="place")
        return why_not(looked, asking.tool, asking.place)


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


def _answer(found: Explanation | WhyNot | None) -> Response:
    # Nobody reads the answer to a client that left.
    return Response(status_code=499) if found is None else JSONResponse(found.model_dump(mode="json"))
