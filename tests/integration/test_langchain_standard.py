"""LangChain's own standard tests of a chat model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_tests.unit_tests import ChatModelUnitTests

from langchain_toolken import ToolkenChat
from tests.unit.tiny_chat import make_model, make_tokenizer


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny-model")
    tokenizer = make_tokenizer()
    make_model(tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


class TestToolkenChat(ChatModelUnitTests):
    folder: Path

    @pytest.fixture(autouse=True)
    def _use_the_tiny_model(self, model_folder: Path) -> None:
        type(self).folder = model_folder

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ToolkenChat

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": str(self.folder)}

    @property
    def has_tool_choice(self) -> bool:
        return False  # a call can't be forced yet
