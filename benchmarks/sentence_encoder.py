"""A sentence encoder to compare with, and to fit with: the mean of its states, scaled to length 1."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from langchain_core.embeddings import Embeddings
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import normalize
from transformers import AutoModel, AutoTokenizer

_BATCH = 64


class SentenceEncoder(Embeddings):
    """Encodes texts, each once.

    Args:
        folder: A transformers folder whose states are averaged, such as all-MiniLM-L6-v2.
        kept: A file for what it said of each text, so that the next run need not ask again (`keep`); None for no file.

    Attributes:
        size: How many numbers describe a text.
    """

    def __init__(self, folder: str | Path, kept: Path | None = None) -> None:
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._model = AutoModel.from_pretrained(folder).eval()
        self._kept = kept
        self._unsaved = False
        self._known: dict[str, Tensor] = load_file(kept) if kept is not None and kept.exists() else {}
        self.size: int = self._model.config.hidden_size

    @torch.inference_mode()
    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return (n, size) float32."""
        new = sorted({text for text in texts if text not in self._known}, key=len)
        for start in range(0, len(new), _BATCH):
            part = new[start : start + _BATCH]
            batch = self._tokenizer(part, padding=True, truncation=True, max_length=256, return_tensors="pt")
            states, mask = self._model(**batch).last_hidden_state, batch["attention_mask"][..., None].float()
            means = normalize((states * mask).sum(dim=1) / mask.sum(dim=1), dim=1)
            self._known.update(zip(part, (mean.clone() for mean in means), strict=True))
        self._unsaved = self._unsaved or bool(new)
        return torch.stack([self._known[text] for text in texts])

    def keep(self) -> None:
        """Write the file. It is written whole, so this is not done for every new text."""
        if self._unsaved and self._kept is not None:
            save_file(self._known, self._kept)
            self._unsaved = False

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return self(texts).tolist() if texts else []

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]
