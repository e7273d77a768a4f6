"""nano: the small LM bundled with the package, and the code that makes it again.

``python -m langchain_toolken.nano.pretrain`` trains it from scratch on the text that
:mod:`langchain_toolken.nano.corpus` generates.
"""

from __future__ import annotations

from pathlib import Path

NANO_PATH = Path(__file__).parent / "weights"
"""The checkpoint's folder: config, weights (bf16), tokenizer and chat template. ``"nano"`` wherever a model id goes."""
