"""A forced call whose arguments can be watched while they are decoded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from langchain_core.messages import BaseMessage

from langchain_toolken.chat.calls import DecodedCall, argument_task
from langchain_toolken.chat.turn import DecodingSetup, reason
from langchain_toolken.chat.why import NothingToExplainError
from langchain_toolken.decoding.engine import Completion
from langchain_toolken.decoding.local.completer import ArgumentPiece
from langchain_toolken.decoding.local.engine import LocalEngine
from langchain_toolken.tools.spec import ToolSpec


def stream_forced_call(
    setup: DecodingSetup, messages: Sequence[BaseMessage], spec: ToolSpec
) -> Iterator[ArgumentPiece | DecodedCall]:
    """Force a call of a tool, as `tool_choice` does, and yield its arguments piece by piece, the whole call last.

    Closing the iterator stops decoding.

    Args:
        setup: How turns are decoded.
        messages: The conversation, which ends with the request.
        spec: The tool.

    Raises:
        NothingToExplainError: The engine runs in another process, which gives arguments as a whole.
        InvalidRequestError: The messages make no prompt.
        PromptTooLongError: The prompt fills the context.
    """
    engine, generation = setup.engine, setup.generation
    if not isinstance(engine, LocalEngine):
        raise NothingToExplainError(
            f"{engine.model_id} does not run in this process, which is needed to watch arguments being decoded: use "
            "toolken serve without --engine vllm, or tool_choice for the arguments as a whole"
        )
    turn = setup.lay_out(messages, [spec])
    task = argument_task(
        engine,
        turn.prompt,
        reason(turn, forced=True),
        [spec],
        setup.toolkens.given,
        max_tokens=generation.max_argument_tokens,
        budget=generation.max_tokens,
    )
    for piece in engine.stream_complete(task.ids, spec, max_tokens=task.max_tokens, copying=task.copying):
        yield task.call(piece) if isinstance(piece, Completion) else piece
