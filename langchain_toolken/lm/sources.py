"""Where an LM's files are: a folder, a Hub id, a `.gguf` file in one of them, or a PEFT adapter and its base model."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transformers.utils.peft_utils import ADAPTER_CONFIG_NAME, find_adapter_config_file

from langchain_toolken.lm.not_found import ModelNotFoundError
from langchain_toolken.lm.ollama import PREFIX, ollama_file
from langchain_toolken.nano import NANO_PATH

NANO_ALIAS = "nano"
OF_THE_HUB = ("token", "cache_dir", "local_files_only", "force_download", "proxies")
"""Arguments of `from_pretrained` that say how files are fetched, so they hold for an LM, its tokenizer and its base."""

_HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
_GGUF_ON_THE_HUB = re.compile(r"(?P<repo>[\w-][\w.-]*/[\w-][\w.-]*)/(?P<file>.+\.gguf)", re.IGNORECASE)


@dataclass(frozen=True)
class Source:
    """Where `from_pretrained` finds an LM or a tokenizer.

    Attributes:
        name: What a user can name it by again; for messages and provenance.
        place: A folder or a Hub id.
        revision: The Hub revision; None for the newest.
        subfolder: A folder in the Hub's repository; "" if the files lie at its root. Never for local folders.
        gguf_file: The name of a GGUF file in `place`; None for a checkpoint of transformers.
        base: The model that the PEFT adapter in `place` was made for; None if there is no adapter.
    """

    name: str
    place: str
    revision: str | None = None
    subfolder: str = ""
    gguf_file: str | None = None
    base: Source | None = None

    @property
    def folder(self) -> Path | None:
        """The local folder, or None for the Hub."""
        return Path(self.place) if Path(self.place).is_dir() else None

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of `from_pretrained` that lead to the files in `place`."""
        given = {"revision": self.revision, "subfolder": self.subfolder, "gguf_file": self.gguf_file}
        return {name: value for name, value in given.items() if value}


def find_source(
    model: str | Path,
    *,
    revision: str | None = None,
    subfolder: str = "",
    gguf_file: str | None = None,
    fetching: Mapping[str, Any] | None = None,
) -> Source:
    """Find out what a name means.

    Args:
        model: "nano", a folder, a `.gguf` file, a Hub id, a GGUF file on the Hub as "owner/name/file.gguf", or a model
            in a local Ollama store as "ollama:NAME" (see `lm.ollama`).
        revision: The Hub revision.
        subfolder: A folder inside of `model`.
        gguf_file: A GGUF file in it.
        fetching: The caller's `OF_THE_HUB` arguments.

    Raises:
        ModelNotFoundError: It can't be the name of anything that an LM is loaded from, or there is no such file.
    """
    if str(model) == NANO_ALIAS:
        return Source(NANO_ALIAS, str(NANO_PATH))
    if not str(model):
        raise ModelNotFoundError("the model's name is empty: give a folder, a .gguf file, a Hub id, or 'nano'")
    if str(model).startswith(PREFIX):
        return replace(_gguf(ollama_file(str(model).removeprefix(PREFIX))), name=str(model))
    path = Path(model).expanduser()
    if path.is_file():
        return _gguf(path)
    if path.is_dir():
        return _in_folder(str(model), path / (subfolder or ""), gguf_file, fetching)
    name = str(model)
    if on_the_hub := _GGUF_ON_THE_HUB.fullmatch(name):
        return Source(name, on_the_hub["repo"], revision, subfolder, on_the_hub["file"])
    if path.suffix.lower() == ".gguf":
        raise ModelNotFoundError(f"no GGUF file at {path}: check the path, which is relative to {Path.cwd()}")
    # Anything else that is not "name" or "owner/name" can only be meant as a folder.
    if isinstance(model, Path) or not _HUB_ID.fullmatch(name):
        raise ModelNotFoundError(
            f"no model folder at {path}: give a folder with config.json and weights, a .gguf file, a Hugging Face Hub "
            "id, or 'nano'"
        )
    if gguf_file is not None:
        return Source(f"{name}/{gguf_file}", name, revision, subfolder, gguf_file)
    source = Source(name, name, revision, subfolder)
    found = find_adapter_config_file(name, revision=revision, subfolder=subfolder, **(fetching or {}))
    return source if found is None else replace(source, base=_base_of(name, Path(found), fetching))


def _in_folder(name: str, folder: Path, gguf_file: str | None, fetching: Mapping[str, Any] | None) -> Source:
    name = name if folder == Path(name).expanduser() else str(folder)
    if gguf_file is not None:
        if not (folder / gguf_file).is_file():
            raise ModelNotFoundError(f"no GGUF file at {folder / gguf_file}: check gguf_file and the folder")
        return _gguf(folder / gguf_file)
    adapter = folder / ADAPTER_CONFIG_NAME
    if (folder / "config.json").is_file() or not folder.is_dir():
        return Source(name, str(folder))
    if adapter.is_file():
        return Source(name, str(folder), base=_base_of(name, adapter, fetching))
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() == ".gguf")
    if len(files) > 1:
        raise ModelNotFoundError(
            f"{folder} holds {len(files)} GGUF files: name one, such as {files[0]}, instead of the folder"
        )
    return _gguf(files[0]) if files else Source(name, str(folder))


def _gguf(path: Path) -> Source:
    with path.open("rb") as file:
        start = file.read(64)
    if start.startswith(b"version https://git-lfs"):
        raise ModelNotFoundError(f"{path} is a Git LFS pointer and not the file itself: run `git lfs pull` there")
    if not start.startswith(b"GGUF"):
        raise ModelNotFoundError(
            f"{path} is not a GGUF file: give a .gguf file, or the folder that a checkpoint's config.json is in"
        )
    if path.suffix.lower() != ".gguf":
        raise ModelNotFoundError(f"{path} is a GGUF file without the ending .gguf, which transformers needs: rename it")
    return Source(str(path), str(path.parent), gguf_file=path.name)


def _base_of(name: str, adapter_config: Path, fetching: Mapping[str, Any] | None) -> Source:
    """Find the base model that an adapter's configuration names."""
    try:
        config = json.loads(adapter_config.read_text(encoding="utf-8"))
        base, revision = config["base_model_name_or_path"], config.get("revision")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelNotFoundError(f"{adapter_config} is no configuration of a PEFT adapter: {error!r}") from error
    try:
        return find_source(base or "", revision=revision, fetching=fetching)
    except ModelNotFoundError as error:
        raise ModelNotFoundError(
            f"the PEFT adapter {name} was made for the base model {base!r}, which is not there: correct "
            f"base_model_name_or_path in {adapter_config}, or load both with PEFT and give the PeftModel. {error}"
        ) from error
