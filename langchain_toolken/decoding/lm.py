"""Loading a frozen causal LM and parting it where toolkens come in: decoder below, output head above (DESIGN §2)."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, Cache, PreTrainedModel, PreTrainedTokenizerBase

from langchain_toolken.decoding.head import LogitTransform, ToolkenHead
from langchain_toolken.lm_identity import LMIdentity

NANO_ALIAS = "nano"
FINGERPRINT_ROWS = 64


class UnsupportedModelError(ValueError):
    """The model loads, but toolkens cannot be put on it: its word logits or its cache are not what we can reproduce."""


class ModelNotFoundError(ValueError):
    """The model's or its tokenizer's files are not where they were looked for."""


@dataclass
class LanguageModel:
    """A frozen causal LM with its tokenizer and its toolken head.

    Attributes:
        model: the LM, in eval mode.
        tokenizer: its tokenizer.
        model_id: the name it was asked for by ("nano", a folder, a Hub id), for messages and provenance.
        revision: the Hub commit, if it came from there.
        head: the output head that also takes toolken rows.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    model_id: str
    revision: str | None
    head: ToolkenHead

    @property
    def device(self) -> torch.device:
        """Where input ids go: the device of the input embeddings (with a `device_map` the head may be elsewhere)."""
        weight = self.model.get_input_embeddings().weight
        assert isinstance(weight, Tensor)
        return weight.device

    @property
    def hidden_size(self) -> int:
        """d."""
        return self.head.hidden_size

    @property
    def vocab_size(self) -> int:
        """V: rows of the output head, padding included. Toolken k has id V + k."""
        return self.head.vocab_size

    @property
    def context_length(self) -> int:
        """Most positions the LM was made for; the tokenizer's limit for models whose config has none (ALiBi)."""
        length = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        return int(self.tokenizer.model_max_length if length is None else length)

    @property
    def identity(self) -> LMIdentity:
        """Which LM it is, for toolkens to be kept with. Raises UnsupportedModelError as `head_fingerprint`."""
        return LMIdentity(
            self.model_id, self.revision, self.head_fingerprint, self.tokenizer_fingerprint, self.hidden_size
        )

    @cached_property
    def eos_ids(self) -> frozenset[int]:
        """Ids that end a text: those of the generation config and the tokenizer's."""
        ids: set[int] = set()
        sources: list[Any] = [getattr(self.model.generation_config, "eos_token_id", None), self.tokenizer.eos_token_id]
        for source in sources:
            if isinstance(source, int):
                ids.add(source)
            elif source is not None:
                ids.update(int(i) for i in source)
        return frozenset(ids)

    @cached_property
    def head_fingerprint(self) -> str:
        """sha256 over the head's shape, up to 64 evenly spaced rows in bfloat16, and the logit transform.

        Rows are cast to bfloat16 so that a checkpoint has one fingerprint whether it is loaded in bfloat16 or float32.

        Raises:
            UnsupportedModelError: the head's weights are offloaded (on the meta device) and cannot be read.
        """
        weight = self.head.weight
        if weight.is_meta:
            raise UnsupportedModelError(
                f"{self.model_id}: the output head is offloaded, so it cannot be read; "
                "give a device_map that keeps it on a device"
            )
        count = min(FINGERPRINT_ROWS, self.vocab_size)
        rows = [i * (self.vocab_size - 1) // max(count - 1, 1) for i in range(count)]
        sample = weight.detach()[rows].to(torch.bfloat16).cpu().contiguous()
        transform = self.head.transform
        facts = [list(weight.shape), transform.multiply, transform.divide, transform.softcap]
        digest = hashlib.sha256(json.dumps(facts).encode())
        digest.update(sample.view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    @cached_property
    def tokenizer_fingerprint(self) -> str:
        """sha256 over the vocabulary, the added tokens, and (of a fast tokenizer) the merges."""
        added = [
            [index, token.content, token.special]
            for index, token in sorted(self.tokenizer.added_tokens_decoder.items())
        ]
        facts: list[Any] = [sorted(self.tokenizer.get_vocab().items()), added]
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        if backend is not None:
            facts.append(json.loads(backend.to_str())["model"].get("merges"))
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    @cached_property
    def weights_fingerprint(self) -> str:
        """sha256 over the names, shapes and up to 64 evenly spaced values of every parameter: unlike the head's, it
        tells two fine-tunings of one LM apart.

        Floats are cast to bfloat16, as in `head_fingerprint`. Offloaded parameters are loaded one module at a time.
        """
        from accelerate.utils import align_module_device

        digest = hashlib.sha256()
        for prefix, module in self.model.named_modules():
            with align_module_device(module):
                for name, parameter in module.named_parameters(prefix=prefix, recurse=False):
                    values = parameter.detach().flatten()
                    count = min(FINGERPRINT_ROWS, values.numel())
                    places = [i * (values.numel() - 1) // max(count - 1, 1) for i in range(count)]
                    sample = values[places].cpu()
                    sample = sample.to(torch.bfloat16) if sample.is_floating_point() else sample
                    digest.update(json.dumps([name, list(parameter.shape)]).encode())
                    digest.update(sample.contiguous().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def hidden_states(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        """The decoder's output after its final norm: what the output head is applied to.

        Args:
            input_ids: (B, T) int64, the new tokens.
            attention_mask: (B, tokens in the cache + T), 0 at padding; None when there is no padding.
            position_ids: (B, T); None counts the tokens that are not padding (GPT-2 would count padding, too).
            cache: extended by the new tokens in place; None for a pass without cache.

        Returns:
            (B, T, d) in the model's dtype. Rows at padding mean nothing.
        """
        width = input_ids.shape[1]
        if position_ids is None:
            if attention_mask is None:
                start = 0 if cache is None else cache.get_seq_length()
                position_ids = torch.arange(start, start + width, device=input_ids.device).expand(
                    input_ids.shape[0], -1
                )
            else:
                position_ids = (attention_mask.long().cumsum(-1) - 1).clamp(min=0)[:, -width:]
        model: Any = self.model  # transformers leaves get_decoder and others untyped
        output = model.get_decoder()(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=cache,
            use_cache=cache is not None,
        )
        hidden: Tensor = output.last_hidden_state
        return hidden


def load_language_model(
    model: str | Path | PreTrainedModel,
    *,
    tokenizer: str | Path | PreTrainedTokenizerBase | None = None,
    revision: str | None = None,
    dtype: torch.dtype | str | None = None,
    device: torch.device | str | None = None,
    device_map: Any = None,
    trust_remote_code: bool = False,
    **from_pretrained: Any,
) -> LanguageModel:
    """Load a causal LM, freeze it, and make sure that toolkens can be put on it.

    Args:
        model: "nano" (the LM in this package), a folder, a Hub id, or a model already in memory (used as it is: dtype,
            device and device_map are then not for us to choose).
        tokenizer: the tokenizer or where it is; None takes the one that comes with the model.
        revision: Hub revision.
        dtype: None loads float32 on a CPU, where bfloat16 is slow, and the checkpoint's own dtype on a GPU.
        device: None is the first CUDA device if there is one, else the CPU.
        device_map: accelerate's; instead of `device`, for models larger than one device.
        trust_remote_code: run model code from the Hub. Off, since it is somebody else's code.
        **from_pretrained: further arguments of `AutoModelForCausalLM.from_pretrained`.

    Raises:
        ModelNotFoundError: no such folder, or the Hub cannot give it.
        UnsupportedModelError: not a causal LM, or its logits or cache fail the probe (`decoding.probe`).
        ValueError: both `device` and `device_map`.
    """
    if isinstance(model, PreTrainedModel):
        model_id = str(model.config.name_or_path or type(model).__name__)
        loaded: Any = model
        if tokenizer is None:
            if not model.config.name_or_path:
                raise ValueError(f"{model_id}: a model made in memory has no tokenizer of its own; give tokenizer=")
            tokenizer = model.config.name_or_path
    else:
        if device is not None and device_map is not None:
            raise ValueError("give device or device_map, not both: a device_map says itself what goes where")
        model_id = str(model)
        source = _find(model)
        if device_map is None:
            device = torch.device(device if device is not None else "cuda" if torch.cuda.is_available() else "cpu")
            on_cpu = device.type == "cpu"
        else:
            on_cpu = not torch.cuda.is_available()
        try:
            loaded = AutoModelForCausalLM.from_pretrained(
                source,
                revision=revision,
                dtype=dtype if dtype is not None else torch.float32 if on_cpu else "auto",
                device_map=device_map,
                trust_remote_code=trust_remote_code,
                **from_pretrained,
            )
        except OSError as error:
            raise ModelNotFoundError(_not_found("model", model_id, error)) from error
        except ValueError as error:
            raise UnsupportedModelError(f"{model_id} cannot be loaded as a causal language model: {error}") from error
        if device_map is None:
            loaded = loaded.to(device)
        if tokenizer is None:
            tokenizer = source
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        try:
            tokenizer = AutoTokenizer.from_pretrained(
                str(tokenizer), revision=revision, trust_remote_code=trust_remote_code
            )
        except (OSError, ValueError) as error:
            raise ModelNotFoundError(_not_found("tokenizer", str(tokenizer), error)) from error
    lm = LanguageModel(
        model=loaded.eval().requires_grad_(False),
        tokenizer=tokenizer,
        model_id=model_id,
        revision=revision or getattr(loaded.config, "_commit_hash", None),
        head=_toolken_head(loaded, model_id),
    )
    # Imported here because the probe works on a LanguageModel, and loading works on the probe.
    from langchain_toolken.decoding.probe import probe

    probe(lm)
    return lm


def _toolken_head(model: Any, model_id: str) -> ToolkenHead:
    words = model.get_output_embeddings()
    weight = getattr(words, "weight", None)
    if not isinstance(weight, Tensor) or weight.ndim != 2 or model.config.is_encoder_decoder:
        raise UnsupportedModelError(
            f"{model_id} ({type(model).__name__}) has no output head of one row per word on a decoder; "
            "toolkens need a decoder-only causal LM"
        )
    return ToolkenHead(words, LogitTransform.of(model.config.get_text_config()))


def _find(model: str | Path) -> str:
    """The folder or Hub id to load from."""
    if str(model) == NANO_ALIAS:
        from langchain_toolken.nano import NANO_PATH

        model = NANO_PATH
    path = Path(model).expanduser()
    if path.is_dir():
        return str(path)
    # A Hub id is "name" or "owner/name"; anything else can only be meant as a folder.
    if isinstance(model, Path) or path.is_absolute() or str(model).startswith((".", "~")) or str(model).count("/") > 1:
        raise ModelNotFoundError(
            f"no model folder at {path}: give a folder with config.json and weights, a Hugging Face Hub id, or 'nano'"
        )
    return str(model)


def _not_found(what: str, name: str, error: Exception) -> str:
    return (
        f"cannot load the {what} {name!r}: it is neither a complete local folder nor could it be fetched from the "
        "Hugging Face Hub. Check the spelling, the network (or HF_HUB_OFFLINE), and for gated models `hf auth login`. "
        f"Reason: {error}"
    )
