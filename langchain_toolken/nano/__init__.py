"""nano, the small LM in this package: its weights, its tools, and the word problems it is asked.

The repository's `pretraining/` folder, which is not in the wheel, has the code that makes it.
"""

from __future__ import annotations

from pathlib import Path

NANO_PATH = Path(__file__).parent / "weights"
"""The checkpoint folder, which the model id `"nano"` means: config, weights (bfloat16), tokenizer, chat template."""
