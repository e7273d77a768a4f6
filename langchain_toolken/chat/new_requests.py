"""A whole new request later in a conversation: "Set a timer for 5 minutes." after the weather was told.

Whether to call is learnt from requests that open a conversation, and what was said before speaks against a call: after
a call and its answer SmolLM2 called for 13 of 36 new everyday requests, after a chat without one for 29; for the
messages alone, for 35 (dev split). So a message that asks for a call by itself gets it, whatever was said before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from langchain_toolken.chat.calls import Prompt, only_call
from langchain_toolken.decoding.engine import Candidate, Reasoning
from langchain_toolken.decoding.parts import log_odds

if TYPE_CHECKING:
    from langchain_toolken.toolkens.evidence import Gate

_NAMED = 5  # the call and its runners-up


def new_request(alone: Sequence[Candidate], gate: Gate | None, prompt: Prompt) -> Reasoning | None:
    """Return the call that a message asks for by itself; None if it asks for none.

    Args:
        alone: The tools by the probability that the message alone asks for them, likeliest first.
        gate: What says when to call.
        prompt: The prompt of the whole conversation, which the arguments are decoded after.
    """
    call = math.fsum(each.probability for each in alone)
    if gate is None or not alone or log_odds(call) <= gate.threshold:
        return None
    spec = next(spec for spec in prompt.by_toolken if spec.name == alone[0].tool)
    return replace(only_call(spec, prompt), trigger=alone[0], runners_up=tuple(alone[1:_NAMED]))
