"""What a chat model reports about itself to LangChain's caches, tracers and agents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.language_models import ModelProfile
from langchain_core.language_models.base import LangSmithParams

from langchain_toolken.chat.settings import GENERATION_FIELDS

_LAYOUT_FIELDS = ("model", "revision", "dtype", "tool_mode", "style", "reinjection", "few_shot")


def identifying_params(settings: object, toolkens: str | None) -> dict[str, Any]:
    """Return what determines a chat model's answers, as a key for LangChain's caches and tracers.

    Args:
        settings: The chat model.
        toolkens: What identifies the contents of its toolken set.
    """
    params: dict[str, Any] = {field: getattr(settings, field) for field in (*_LAYOUT_FIELDS, *GENERATION_FIELDS)}
    return {**params, "toolkens": toolkens}


def langsmith_params(settings: object, changed: Mapping[str, Any], stop: Sequence[str] | None) -> LangSmithParams:
    """Return what LangSmith shows of a call.

    Args:
        settings: The chat model; `model`, `temperature` and `max_tokens` are read from it.
        changed: The call's keyword arguments, which take precedence.
        stop: The call's stop strings.
    """
    model, temperature, most = (
        getattr(settings, field) if changed.get(field) is None else changed[field]
        for field in ("model", "temperature", "max_tokens")
    )
    params = LangSmithParams(
        ls_provider="toolken",
        ls_model_name=str(model),
        ls_model_type="chat",
        ls_temperature=temperature,
        ls_max_tokens=most,
    )
    if stop:
        params["ls_stop"] = list(stop)
    return params


def text_model_profile() -> ModelProfile:
    """Return what any text LM can do here.

    LangChain's agents read it: because of "structured_output" they decode a response_format under its grammar instead
    of adding it as a tool.
    """
    return ModelProfile(
        text_inputs=True,
        image_inputs=False,
        image_url_inputs=False,
        pdf_inputs=False,
        audio_inputs=False,
        video_inputs=False,
        image_tool_message=False,
        pdf_tool_message=False,
        text_outputs=True,
        image_outputs=False,
        audio_outputs=False,
        video_outputs=False,
        tool_calling=True,
        tool_choice=True,
        tool_call_streaming=True,
        structured_output=True,
    )
