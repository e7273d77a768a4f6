"""Export an LM with its toolkens as one Hugging Face checkpoint, for engines that know nothing of toolkens.

The toolkens become rows of an untied output head, and special tokens of the tokenizer. A program that runs the
checkpoint sees a tool called when that tool's token comes. What a plain head can't hold lies beside it, in the folder
`toolkens`: the gate, the mean-state rows and the words, the demonstrations, and the biases (which are also in the
generation config, as `sequence_bias`, so that `generate` adds them).

A toolken is never fed back in this package. Other engines may do so, so its input row is the mean of those of the words
of the tool's name.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from langchain_toolken._version import __version__
from langchain_toolken.disk.writing import writing
from langchain_toolken.errors import ToolkenError
from langchain_toolken.lm.load import load_language_model
from langchain_toolken.lm.transformers_model import TransformersModel
from langchain_toolken.toolkens.priors import name_words, text_ids
from langchain_toolken.toolkens.set import ToolkenSet

TOKENS_FILE = "toolken_tokens.json"
TOOLKENS_FOLDER = "toolkens"
CONFIG_KEY = "toolken_export"
_SAFE = re.compile(r"[^A-Za-z0-9_.-]+")


class ExportError(ToolkenError, ValueError):
    """The toolkens can't be exported; the message says why, and the next step."""


class ExportedToken(BaseModel):
    """The token of a tool.

    Attributes:
        tool: The tool's name.
        id: Its token id.
        token: The token's text, which holds a fingerprint, so that nobody writes it by chance.
        bias: What is added to its logit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tool: str
    id: int
    token: str
    bias: float


class ExportMark(BaseModel):
    """What an exported config says, so that an engine can check that a checkpoint and a set belong together.

    Attributes:
        toolkens: The fingerprint of the set.
        head: The fingerprint of the original LM's output head.
        words: How many ids are words: those of the original tokenizer.
        tools: How many toolkens follow them.
        package_version: The version of this package.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    toolkens: str
    head: str
    words: int
    tools: int
    package_version: str


def export(
    toolkens: ToolkenSet | str | Path,
    out: str | Path,
    *,
    model: str | Path | None = None,
    max_shard_size: str = "5GB",
    **load: Any,
) -> list[ExportedToken]:
    """Write a checkpoint of the toolkens' LM with the toolkens in its head and its tokenizer.

    It has the LM's own dtype. The ids of words stay; rows that only pad the head are taken first.

    Args:
        toolkens: The set, or its folder.
        out: A new folder, or an empty one.
        model: The LM; None for the one that the set names.
        max_shard_size: Most bytes of a file of weights, such as "5GB".
        **load: Arguments of `load_language_model`.

    Returns:
        The tools' tokens, in the order of the set.

    Raises:
        ExportError: There are no toolkens; `out` holds something; the LM is not run by transformers, or caps its
            logits, which no row of its head can escape; or its tokenizer can't be extended.
        ToolkenSetError: The set can't be read, or was made for another LM.
        WriteError: A file can't be written. Nothing is left of it then.
    """
    toolkens = toolkens if isinstance(toolkens, ToolkenSet) else ToolkenSet.load(toolkens)
    out = Path(out)
    if not len(toolkens):
        raise ExportError("there are no toolkens to export: fit some")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ExportError(f"{out} holds something already: give a new folder, or an empty one")
    lm = load_language_model(model or toolkens.made_for.model_id, **{"dtype": "auto", "device": "cpu", **load})
    if not isinstance(lm, TransformersModel):
        raise ExportError(f"{lm.model_id} is not run by transformers: give its Hugging Face weights as the model")
    toolkens.check_fits(lm.identity)
    mark = ExportMark(
        toolkens=toolkens.fingerprint,
        head=lm.head_fingerprint,
        words=_words(lm),
        tools=len(toolkens),
        package_version=__version__,
    )
    tokens = _tokens(toolkens, mark)
    inputs = _input_rows(lm, toolkens)  # with the tokenizer as it is
    _extend_tokenizer(lm, tokens)
    _extend_model(lm, toolkens, tokens, inputs)
    setattr(lm.model.config, CONFIG_KEY, mark.model_dump())
    _add_biases(lm, tokens)
    out.parent.mkdir(parents=True, exist_ok=True)
    with writing(out):
        new = Path(tempfile.mkdtemp(prefix=f".{out.name}.new-", dir=out.parent))
        try:
            lm.model.save_pretrained(new, max_shard_size=max_shard_size)
            lm.tokenizer.save_pretrained(new)
            listed = json.dumps([token.model_dump() for token in tokens], ensure_ascii=False, indent=1)
            (new / TOKENS_FILE).write_text(listed, encoding="utf-8")
            toolkens.save(new / TOOLKENS_FOLDER)
            (new / "README.md").write_text(_readme(toolkens, tokens), encoding="utf-8")
            new.chmod(0o755)
            if out.exists():
                out.rmdir()
            new.rename(out)
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise
    return tokens


def read_tokens(folder: str | Path) -> list[ExportedToken]:
    """Read which token of an exported checkpoint stands for which tool."""
    content = json.loads((Path(folder) / TOKENS_FILE).read_text(encoding="utf-8"))
    return [ExportedToken.model_validate(each) for each in content]


def _words(lm: TransformersModel) -> int:
    """Return the first id that no word has."""
    return 1 + max(lm.tokenizer.get_vocab().values())


def _tokens(toolkens: ToolkenSet, mark: ExportMark) -> list[ExportedToken]:
    digest = hashlib.sha256(f"{mark.toolkens} {mark.head}".encode()).hexdigest()[:12]
    return [
        ExportedToken(
            tool=name,
            id=mark.words + k,
            # The number makes it unlike all others where names differ only in what is replaced.
            token=f"<|toolken {digest} {k} {_SAFE.sub('_', name)}|>",
            bias=bias,
        )
        for k, (name, bias) in enumerate(zip(toolkens.names, toolkens.biases.tolist(), strict=True))
    ]


@torch.no_grad()
def _input_rows(lm: TransformersModel, toolkens: ToolkenSet) -> Tensor:
    table = lm.input_embeddings
    ids = [text_ids(lm, spec, name_words(spec.name)) for spec in toolkens.specs]
    return torch.stack([table[each].float().mean(dim=0) for each in ids])


def _extend_tokenizer(lm: TransformersModel, tokens: Sequence[ExportedToken]) -> None:
    tokenizer = lm.tokenizer
    tokenizer.add_tokens([token.token for token in tokens], special_tokens=True)
    for token in tokens:
        got = tokenizer.convert_tokens_to_ids(token.token)
        if got != token.id:
            raise ExportError(
                f"the tokenizer of {lm.model_id} gave the token of {token.tool!r} the id {got} and not {token.id}: its "
                "vocabulary has gaps, and can't be extended"
            )


@torch.no_grad()
def _extend_model(lm: TransformersModel, toolkens: ToolkenSet, tokens: Sequence[ExportedToken], inputs: Tensor) -> None:
    model, transform = lm.model, lm.head.transform
    if transform.softcap is not None:
        raise ExportError(
            f"{lm.model_id} caps its logits (final_logit_softcapping={transform.softcap:g}), and would cap those of "
            "toolkens too, which are compared with the words uncapped: use it in this process"
        )
    for config in (model.config, model.config.get_text_config()):
        config.tie_word_embeddings = False
    head: Any = model.get_output_embeddings()
    head.weight = nn.Parameter(head.weight.detach().clone(), requires_grad=False)  # no longer the input's
    rows = max(lm.vocab_size, tokens[-1].id + 1)
    if rows > lm.vocab_size:
        model.resize_token_embeddings(rows, mean_resizing=False)
    start, stop = tokens[0].id, tokens[-1].id + 1
    head, table = model.get_output_embeddings(), model.get_input_embeddings()
    assert isinstance(table, nn.Module)
    # The model scales all logits; those of toolkens are not scaled here.
    head.weight[start:stop] = (toolkens.matrix / transform.scale).to(head.weight)
    if getattr(head, "bias", None) is not None:
        head.bias[start:stop] = 0
    weight = table.weight
    assert isinstance(weight, Tensor)
    weight[start:stop] = inputs.to(weight)


def _add_biases(lm: TransformersModel, tokens: Sequence[ExportedToken]) -> None:
    generation = lm.model.generation_config
    biases = [[[token.id], token.bias] for token in tokens if token.bias]
    if biases:
        generation.sequence_bias = [*(generation.sequence_bias or ()), *biases]


def _readme(toolkens: ToolkenSet, tokens: Sequence[ExportedToken]) -> str:
    return (
        f"# {toolkens.made_for} with {len(tokens)} toolkens\n\n"
        "A tool is called where its token comes; the text so far is the answer up to the call. "
        f"`{TOKENS_FILE}` says which token is which tool's, with the bias that is added to its logit (`generate` adds "
        f"it). `{TOOLKENS_FOLDER}` is the toolken set itself, for engines that can use its gate, its evidence and its "
        "demonstrations.\n\n"
        "Pass the tokens' ids as `eos_token_id`, so that generation ends with a call.\n"
    )
