"""nano, the small LM in this package: its weights, its tools, and the word problems it is asked.

How it is made is in the repository's `pretraining/` folder, which is not part of the wheel.
"""

from __future__ import annotations

from pathlib import Path

NANO_PATH = Path(__file__).parent / "weights"
"""The checkpoint's folder: config, weights (bf16), tokenizer and chat template. ``"nano"`` wherever a model id goes."""
