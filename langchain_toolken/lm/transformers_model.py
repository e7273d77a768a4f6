"""`TransformersModel`: a frozen causal LM of transformers, split where toolkens come in: the decoder, and the head."""

from __future__ import annotations

import copy
import hashlib
import inspect
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor
from transformers import Cache, DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from langchain_toolken.lm.head import ToolkenHead, WordLogits
from langchain_toolken.lm.identity import FINGERPRINT_ROWS, Backend, LMIdentity, head_fingerprint, tokenizer_fingerprint
from langchain_toolken.lm.model import UnsupportedModelError
from langchain_toolken.lm.sketch import sketch_of, sketched_ids

# Word logits in memory at once (4 MB in float32). Elements, not rows: vocabularies have 6,000 to 256,000 words.
_LOGIT_ELEMENTS = 1 << 20


@dataclass
class TransformersModel:
    """A `LanguageModel` of transformers.

    Attributes:
        model: The LM, in eval mode.
        tokenizer: Its tokenizer.
        model_id: The name it was loaded by ("nano", a folder, a Hub id), for messages and provenance.
        revision: The Hub commit; None if it did not come from there.
        head: Its output head.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    model_id: str
    revision: str | None
    head: ToolkenHead

    @property
    def backend(self) -> Backend:
        """Transformers."""
        return "transformers"

    @cached_property
    def sketch(self) -> tuple[float, ...]:
        """See `lm.sketch`."""
        with torch.inference_mode():
            ids = sketched_ids(self.vocab_size).to(self.device)
            return sketch_of(self._decoded(input_ids=ids, use_cache=False)[0])

    @property
    def device(self) -> torch.device:
        """The device of the input embeddings, where input ids go; with a `device_map` the head may be elsewhere."""
        return self.input_embeddings.device

    @property
    def head_device(self) -> torch.device:
        """The device of the head."""
        return self.head.weight.device

    @property
    def hidden_size(self) -> int:
        """The hidden size d."""
        return self.head.hidden_size

    @property
    def vocab_size(self) -> int:
        """V, the number of rows of the output head, padding included. Toolken k has id V + k."""
        return self.head.vocab_size

    @property
    def context_length(self) -> int:
        """The most positions that the LM was made for, or the tokenizer's limit if its config has none (ALiBi)."""
        length = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        return int(self.tokenizer.model_max_length if length is None else length)

    @property
    def input_embeddings(self) -> Tensor:
        """The rows (V, d) of the input embeddings."""
        weight = self.model.get_input_embeddings().weight
        assert isinstance(weight, Tensor)
        return weight

    @property
    def identity(self) -> LMIdentity:
        """Which LM this is, for toolkens to be saved with.

        Raises:
            UnsupportedModelError: See `head_fingerprint`.
        """
        return LMIdentity(
            self.model_id, self.revision, self.head_fingerprint, self.tokenizer_fingerprint, self.hidden_size
        )

    @cached_property
    def eos_ids(self) -> frozenset[int]:
        """Ids that end a text: those of the generation config and the tokenizer."""
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
        """See `lm.identity.head_fingerprint`.

        Raises:
            UnsupportedModelError: The head's weights are offloaded (on the meta device) and cannot be read.
        """
        weight = self.head.weight
        if weight.is_meta:
            raise UnsupportedModelError(
                f"{self.model_id}: the output head is offloaded, so it cannot be read; "
                "give a device_map that keeps it on a device"
            )
        return head_fingerprint(weight.shape, self.head.transform, lambda rows: weight.detach()[rows])

    @cached_property
    def tokenizer_fingerprint(self) -> str:
        """See `lm.identity.tokenizer_fingerprint`."""
        return tokenizer_fingerprint(self.tokenizer)

    @cached_property
    def weights_fingerprint(self) -> str:
        """SHA-256 of the names, shapes and up to 64 evenly spaced values of every parameter.

        Unlike the head's fingerprint, it differs between two fine-tunings of one LM. Floats are cast to bfloat16, as in
        `head_fingerprint`. Offloaded parameters are loaded one module at a time.
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
        """Run the decoder and return its output after the final norm, which the output head is applied to.

        Args:
            input_ids: (B, T) int64, the new tokens.
            attention_mask: (B, tokens in the cache + T), 0 at padding; None if there is no padding.
            position_ids: (B, T); None counts the tokens that are not padding (GPT-2 would count padding too).
            cache: Extended by the new tokens in place; None for a pass without a cache.

        Returns:
            (B, T, d) in the model's dtype. Rows at padding are meaningless.
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
        return self._decoded(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            use_cache=cache is not None,
            **{self.cache_parameter: cache},
        )

    @cached_property
    def cache_parameter(self) -> str:
        """What the decoder calls the argument for its cache."""
        # transformers 5.24 renamed it; older releases and LMs with code of their own know only the old name.
        model: Any = self.model
        parameters = inspect.signature(model.get_decoder().forward).parameters
        return "cache" if "cache" in parameters else "past_key_values"

    def _decoded(self, **given: Any) -> Tensor:
        model: Any = self.model  # transformers leaves get_decoder and others untyped
        hidden: Tensor = model.get_decoder()(**given).last_hidden_state
        return hidden

    @property
    def has_inner_states(self) -> bool:
        """Transformers gives them."""
        return True

    def inner_states(self, input_ids: Tensor, depth: float) -> Tensor:
        """Run texts; see `LanguageModel.inner_states`."""
        model: Any = self.model
        decoded = model.get_decoder()(input_ids=input_ids, use_cache=False, output_hidden_states=True)
        # The embeddings come first, and the last states have been normed.
        layers: tuple[Tensor, ...] = decoded.hidden_states
        return layers[max(1, min(round(depth * (len(layers) - 1)), len(layers) - 1))]

    def read(
        self,
        input_ids: Tensor,
        at: Sequence[tuple[int, int]],
        following: Tensor,
        shared: SharedBeginning | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Run texts and describe the word logits at some of their places; see `LanguageModel.read`.

        `shared` is what all texts begin with, at least a token shorter than each.
        """
        states = self.hidden_states(input_ids) if shared is None else shared.continued(self, input_ids)
        rows, positions = torch.tensor(at, device=states.device).reshape(-1, 2).T
        due = states[rows, positions]
        words = WordLogits(following)
        size = max(1, _LOGIT_ELEMENTS // self.vocab_size)
        for start in range(0, len(at), size):
            words.put(range(start, min(start + size, len(at))), self.head.word_logits(due[start : start + size]))
        return states, words.summary


@dataclass(frozen=True, eq=False)
class SharedBeginning:
    """The tokens that several texts begin with, run once.

    Attributes:
        states: (1, p, d), their hidden states.
        cache: Their keys and values.
    """

    states: Tensor
    cache: DynamicCache

    @classmethod
    def of(cls, lm: TransformersModel, ids: Sequence[int]) -> Self:
        """Run the LM over the tokens."""
        cache = DynamicCache()
        return cls(lm.hidden_states(torch.tensor([list(ids)], device=lm.device), cache=cache), cache)

    def __len__(self) -> int:
        return self.states.shape[1]

    def continued(self, lm: TransformersModel, input_ids: Tensor) -> Tensor:
        """Run texts (B, T) that begin with these tokens, and return the states (B, T, d) of all their tokens."""
        rows = len(input_ids)
        cache = DynamicCache()
        layers: list[Any] = self.cache.layers  # transformers declares a wider type than the plain layers that these are
        for layer in layers:
            view = copy.copy(layer)  # extending it makes longer tensors, and this one stays as it is
            if view.is_initialized:  # layers that use another's states have none
                view.keys, view.values = (part.expand(rows, -1, -1, -1) for part in (view.keys, view.values))
            cache.layers.append(view)
        rest = lm.hidden_states(input_ids[:, len(self) :], cache=cache)
        return torch.cat([self.states.expand(rows, -1, -1), rest], dim=1)
