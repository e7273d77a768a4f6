"""The tiny tokenizer and the tiny random LMs of every architecture that the tests use. Nothing is downloaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Olmo2Config,
    Olmo2ForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from langchain_toolken.lm.load import load_language_model
from langchain_toolken.lm.model import LanguageModel

VOCABULARY = 340
HIDDEN_SIZE = 32
CONTEXT_LENGTH = 512
WINDOW = 8  # shorter than any text in the tests
PADDED_ROWS = 5  # rows of the head beyond the tokenizer, as many checkpoints have

CALL_MARKER = "<tool_call>"
_SPECIALS = ["<s>", "</s>", "<pad>", "<|im_start|>", "<|im_end|>"]
SPECIALS = [*_SPECIALS, CALL_MARKER]
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content | trim }}"
    "{% if message.tool_calls %}{% for call in message.tool_calls %}<tool_call>{{ call.function | tojson }}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SENTENCES = [
    "Q: A box holds 12 pens. How many pens are in 7 boxes?\nA: There are 12*7=84 pens in 7 boxes.",
    "Q: Anna has 5.5 euros and pays 2 for a café crème. What is left?\nA: She has 5.5-2=3.5 euros left.",
    'Tool: divide(a: number, b: number)\nArguments: {"a":4096,"b":27}',
    "The tool gives a result, and the sentence goes on with that number. Then the answer is near.",
    "Q: A box holds 4096 pens. How many pens do 27 boxes hold?\nA: The boxes hold 4096*27=110592 pens in total.",
    "Tool: lamp(on: boolean)\nTurn the lamp on or off.\nArguments: user assistant system tool",
]

_ROPE: dict[str, Any] = {"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 64}
_SLIDING = ["sliding_attention", "full_attention"]
_ARCHITECTURES: dict[str, tuple[type[Any], type[Any], dict[str, Any]]] = {
    "llama": (LlamaConfig, LlamaForCausalLM, _ROPE),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM, _ROPE),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM, {**_ROPE, "head_dim": 8}),
    "mistral": (MistralConfig, MistralForCausalLM, {**_ROPE, "sliding_window": WINDOW}),
    "gemma2": (
        Gemma2Config,
        Gemma2ForCausalLM,
        {
            **_ROPE,
            "head_dim": 8,
            "query_pre_attn_scalar": 8,
            "sliding_window": WINDOW,
            "layer_types": _SLIDING,
            "final_logit_softcapping": 5.0,
            "attn_logit_softcapping": 20.0,
        },
    ),
    "gemma3": (
        Gemma3TextConfig,
        Gemma3ForCausalLM,
        {
            **_ROPE,
            "head_dim": 8,
            "query_pre_attn_scalar": 8,
            "sliding_window": WINDOW,
            "layer_types": _SLIDING,
            "final_logit_softcapping": 5.0,
        },
    ),
    "phi3": (Phi3Config, Phi3ForCausalLM, {**_ROPE, "sliding_window": WINDOW}),
    "gpt2": (GPT2Config, GPT2LMHeadModel, {"n_head": 4, "n_inner": 64}),
    "olmo2": (Olmo2Config, Olmo2ForCausalLM, _ROPE),
    "cohere": (CohereConfig, CohereForCausalLM, {**_ROPE, "logit_scale": 0.3}),
    "granite": (GraniteConfig, GraniteForCausalLM, {**_ROPE, "logits_scaling": 3.0}),
}
ARCHITECTURES = tuple(_ARCHITECTURES)

# Token ids of several lengths, two of which begin alike.
PROMPTS = [
    [0, 40, 41, 200, 9, 17, 33, 60, 71, 80, 99, 300],
    [0, 50, 51, 90],
    [0, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27],
    [0, 12, 13, 14, 15, 16, 17, 18, 50, 51],
    [0, 7],
]


def make_tokenizer(
    *,
    chat: bool = True,
    bos: bool = False,
    extra: Sequence[str] = (CALL_MARKER,),
    sentences: Sequence[str] = SENTENCES,
) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer with single digits, which takes any text.

    Args:
        chat: Whether it has a chat template (like ChatML) that also writes tool calls.
        bos: Whether it puts `<s>` before every text.
        extra: Special tokens in addition to the usual five; the default is the one that begins a written tool call.
        sentences: What it is trained on.
    """
    specials = [*_SPECIALS, *extra]
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(sentences, trainer)
    if bos:
        raw.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(
        tokenizer_object=raw,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        extra_special_tokens=specials[3:],
        chat_template=TEMPLATE if chat else None,
        clean_up_tokenization_spaces=False,
    )


def make_model(
    architecture: str, *, tied: bool = False, vocabulary: int = VOCABULARY + PADDED_ROWS, seed: int = 0
) -> PreTrainedModel:
    """A random model with weights large enough for its logits to spread, so that soft-capping and scaling matter."""
    config_class, model_class, settings = _ARCHITECTURES[architecture]
    config = config_class(
        vocab_size=vocabulary,
        hidden_size=HIDDEN_SIZE,
        num_hidden_layers=2,
        max_position_embeddings=CONTEXT_LENGTH,
        tie_word_embeddings=tied,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
        **settings,
    )
    torch.manual_seed(seed)
    model: PreTrainedModel = model_class(config)
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2:
                spread = 1.0 if name.startswith("lm_head") or "embed" in name or "wte" in name else 0.3
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * spread)
    return model.eval()


def make_lm(architecture: str = "llama", *, chat: bool = True) -> LanguageModel:
    """Load a random model with the tiny tokenizer."""
    return load_language_model(make_model(architecture), tokenizer=make_tokenizer(chat=chat))


def save_lm(folder: Path, *, chat: bool = True) -> None:
    """Save a random Llama with the tiny tokenizer as a checkpoint."""
    make_model("llama").save_pretrained(folder)
    make_tokenizer(chat=chat).save_pretrained(folder)
