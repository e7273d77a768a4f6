"""Makes a `VllmEngine` from a chat model's settings: only the LM's tokenizer is loaded here."""

from __future__ import annotations

from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from langchain_toolken.decoding.vllm.connection import PATIENCE, TIMEOUT, VllmConnection
from langchain_toolken.decoding.vllm.engine import VllmEngine
from langchain_toolken.lm.load_errors import not_a_tokenizer
from langchain_toolken.lm.sources import find_source


def vllm_engine(
    base_url: str,
    model: str,
    *,
    revision: str | None = None,
    trust_remote_code: bool = False,
    tokenizer: str | Path | PreTrainedTokenizerBase | None = None,
    api_key: str | None = None,
    timeout: float = TIMEOUT,
    patience: float = PATIENCE,
) -> VllmEngine:
    """Return the engine that asks a vLLM server. The server is not asked anything yet.

    Args:
        base_url: Where its API is, such as "http://127.0.0.1:8001/v1".
        model: The LM that the toolkens were fitted for. Only its tokenizer is read.
        revision: Its Hub revision.
        trust_remote_code: Whether the tokenizer's own code may run.
        tokenizer: The tokenizer, or where it is; None for the model's own.
        api_key: The server's API key.
        timeout: Seconds without a byte from the server, from which on it counts as hung.
        patience: Seconds in which a server that is gone may come back before a request fails.

    Raises:
        ModelNotFoundError: There is no such model.
        LoadArgumentError: It has no tokenizer.
    """
    connection = VllmConnection(base_url, api_key, timeout, patience)
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        source = find_source(model if tokenizer is None else tokenizer, revision=revision)
        try:
            tokenizer = AutoTokenizer.from_pretrained(
                source.place, **source.arguments, trust_remote_code=trust_remote_code
            )
        except Exception as error:
            raise not_a_tokenizer(source, error) from error
    return VllmEngine(connection, tokenizer, model)
