"""A manifest that was edited is told, and one of the first version is read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from langchain_toolken.disk.sealed_json import sealed
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.training.features.manifest import FeatureStoreError
from tests.support.feature_stores import compute


def edited(folder: Path, **changes: object) -> None:
    """Edits a manifest, with its right checksum."""
    content = json.loads((folder / "manifest.json").read_text())
    del content["sha256"]
    (folder / "manifest.json").write_bytes(sealed({**content, **changes}))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"batch_tokens": 1}, "manifest.json was changed"),
        ({"batch_tokens": 0}, "batch_tokens"),
        ({"hidden_size": -1}, "hidden_size"),
        ({"rows": [0]}, "rows out of order"),
        ({"rows": [0, 10**4000], "requests": [0, 9]}, "bytes instead of"),
    ],
)
def test_an_edited_manifest_is_told(
    tiny_llama: LanguageModel, tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    compute(tiny_llama, tmp_path)
    edited(tmp_path, **changes)
    with pytest.raises(FeatureStoreError, match=said):
        compute(tiny_llama, tmp_path)


def test_a_folder_of_an_earlier_version_is_refused_with_what_to_do(tiny_llama: LanguageModel, tmp_path: Path) -> None:
    compute(tiny_llama, tmp_path)
    edited(tmp_path, version=2)
    with pytest.raises(FeatureStoreError, match="not a features manifest of this version.*Delete the folder"):
        compute(tiny_llama, tmp_path)
