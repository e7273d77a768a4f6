"""Model classes with toolkens: `ToolkenLlamaForCausalLM` and all others, made when they are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from vllm import ModelRegistry
from vllm.forward_context import get_forward_context

from langchain_toolken_vllm import PREFIX, state


def __getattr__(name: str) -> type:
    """Make the class of an architecture with toolkens."""
    if not name.startswith(PREFIX):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    registered = ModelRegistry.models.get(name.removeprefix(PREFIX))
    if registered is None:
        raise AttributeError(f"vLLM has no architecture {name.removeprefix(PREFIX)!r}")
    made = _with_toolkens(registered.load_model_cls(), name)
    globals()[name] = made
    return made


def _with_toolkens(base: Any, name: str) -> type:
    class WithToolkens(base):
        """A causal LM whose hidden states and logits go through the batch of `state`."""

        def forward(
            self,
            input_ids: Tensor | None,
            positions: Tensor,
            intermediate_tensors: Any = None,
            inputs_embeds: Tensor | None = None,
            **others: Any,
        ) -> Any:
            """Run the model, and hand its states over."""
            hidden = super().forward(input_ids, positions, intermediate_tensors, inputs_embeds, **others)
            if state.batch is not None and isinstance(hidden, Tensor):
                bounds = _bounds(get_forward_context().attn_metadata)
                if bounds is not None:  # else vLLM only measures memory
                    state.batch.ran(bounds, positions[: bounds[-1]].tolist(), hidden[: bounds[-1]])
            return hidden

        def compute_logits(self, hidden_states: Tensor, *others: Any) -> Tensor | None:
            """Compute the logits, and choose tokens by them. Toolkens only come where they are chosen."""
            logits = super().compute_logits(hidden_states, *others)
            if logits is None or state.batch is None:  # another process has the logits
                return logits
            return state.batch.choose(hidden_states, logits)

    WithToolkens.__name__ = WithToolkens.__qualname__ = name
    return WithToolkens


def _bounds(metadata: Any) -> list[int] | None:
    """Return where each request's tokens begin and the last one's end, from any layer's attention metadata."""
    if isinstance(metadata, list):  # micro-batches, which are not supported
        return None
    of_layer = next(iter(metadata.values()), None) if isinstance(metadata, Mapping) else metadata
    starts = getattr(of_layer, "query_start_loc", None)
    return None if starts is None else list(starts.tolist())
