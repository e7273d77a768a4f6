"""The vLLM plugin of langchain-toolken.

`ToolkenChat(base_url=…)` asks for tokens by ids; this package, installed where vLLM is, decodes them in vLLM's worker
with the toolkens, the gate, the evidence and the argument grammars of an exported checkpoint.
"""

from __future__ import annotations

PREFIX = "Toolken"
"""Stands before the name of an architecture: ToolkenLlamaForCausalLM is a LlamaForCausalLM with toolkens."""

_CAUSAL = "ForCausalLM"


def register() -> None:
    """Register a model class with toolkens beside every causal LM that vLLM knows. vLLM calls this in each process."""
    from vllm import ModelRegistry

    for architecture in list(ModelRegistry.get_supported_archs()):
        if architecture.endswith(_CAUSAL) and not architecture.startswith(PREFIX):
            name = PREFIX + architecture
            ModelRegistry.register_model(name, f"langchain_toolken_vllm.models:{name}")
