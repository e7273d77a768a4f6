"""The one batch of this worker process, which the model and the logits processor share.

vLLM makes the two apart and hands neither the other: the processor knows which request is where, the model has the
hidden states.
"""

from __future__ import annotations

from langchain_toolken.decoding.vllm.batch import ServedBatch

batch: ServedBatch | None = None
"""None until vLLM has made the processor, or where the checkpoint is not an exported one."""
