"""`QUICK`: options that spare a fit some minutes on a small machine, as `toolken demo` does.

An eighth of the package's plain requests, and no search for what the LM best reads of a called tool. Leave them out for
tools of your own: `fit(lm, tools)`.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from langchain_toolken.training.arguments import DEFAULT_FORM
from langchain_toolken.training.negatives import plain_requests

_FILE = Path(tempfile.mkdtemp()) / "plain.txt"
_FILE.write_text("\n".join(plain_requests("default")[::8]), encoding="utf-8")
QUICK: dict[str, Any] = {"negatives": str(_FILE), "card": DEFAULT_FORM}
