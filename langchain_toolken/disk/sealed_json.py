"""JSON that begins with its own checksum, so that no change of it goes unnoticed.

    {
     "sha256": "<64 hex digits>",
     …

The checksum is that of the whole text with zeros in the place of the digits.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

_BEFORE, _BLANK, _AFTER = b'{\n "sha256": "', b"0" * 64, b'",\n'


def sealed(content: Mapping[str, Any]) -> bytes:
    """Return `content` as JSON with its checksum as the first field, "sha256".

    Raises:
        ValueError: `content` holds what JSON can't, such as NaN or half a surrogate pair.
    """
    text = json.dumps({"sha256": _BLANK.decode(), **content}, ensure_ascii=False, indent=1, allow_nan=False).encode()
    digest = hashlib.sha256(text).hexdigest()
    return _BEFORE + digest.encode() + text[len(_BEFORE) + len(_BLANK) :]


def intact(content: bytes) -> bool | None:
    """Whether `content` is as `sealed` wrote it; None if it does not begin as sealed JSON does."""
    start, end = len(_BEFORE), len(_BEFORE) + len(_BLANK)
    if not content.startswith(_BEFORE) or content[end : end + len(_AFTER)] != _AFTER:
        return None
    return hashlib.sha256(_BEFORE + _BLANK + content[end:]).hexdigest().encode() == content[start:end]
