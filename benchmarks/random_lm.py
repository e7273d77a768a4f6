"""LMs of a given size with random weights. They take as long as trained ones."""

from __future__ import annotations

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from langchain_toolken.lm.load import load_language_model
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.nano import NANO_PATH


def random_lm(parameters: int, *, words: int | None = None, context: int = 1 << 17) -> LanguageModel:
    """Make a Llama with random weights and nano's tokenizer.

    Args:
        parameters: Size in millions of parameters, without head and embeddings.
        words: Rows of the head. Default: the tokenizer's vocabulary.
        context: Longest sequence.
    """
    tokenizer: PreTrainedTokenizerBase = load_language_model(NANO_PATH).tokenizer
    # A layer of width d has about 12 d² parameters; width 64 per layer keeps the usual proportions.
    layers = max(2, round((parameters * 1e6 / (12 * 64 * 64)) ** (1 / 3)))
    width = 64 * layers
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=words or len(tokenizer),
        hidden_size=width,
        intermediate_size=int(2.75 * width) // 64 * 64,
        num_hidden_layers=layers,
        num_attention_heads=layers,
        num_key_value_heads=layers,
        max_position_embeddings=context,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return load_language_model(LlamaForCausalLM(config), tokenizer=tokenizer)
