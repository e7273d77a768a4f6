"""The vLLM plugin of langchain-toolken.

`ToolkenChat(base_url=…)` asks for tokens by ids; this package, installed where vLLM is, decodes them in vLLM's worker
with the toolkens, the gate, the evidence and the argument grammars of an exported checkpoint.
"""

from __future__ import annotations

PREFIX = "Toolken"
"""Precedes the name of an architecture: ToolkenLlamaForCausalLM is a LlamaForCausalLM with toolkens."""

_CAUSAL = "ForCausalLM"


PARSER = "toolken"
"""The name of the tool parser."""


def register() -> None:
    """Register the tool parser, and a model class with toolkens beside every causal LM that vLLM knows.

    vLLM calls this in each process.
    """
    from vllm import ModelRegistry
    from vllm.tool_parsers import ToolParserManager

    ToolParserManager.register_lazy_module(PARSER, "langchain_toolken_vllm.parser", "ToolkenParser")

    for architecture in list(ModelRegistry.get_supported_archs()):
        if architecture.endswith(_CAUSAL) and not architecture.startswith(PREFIX):
            name = PREFIX + architecture
            ModelRegistry.register_model(name, f"langchain_toolken_vllm.models:{name}")
