"""nano's tokenizer: byte-level BPE trained on the corpus, with one token per digit, and its chat template."""

from __future__ import annotations

from collections.abc import Iterator

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from pretraining.documents import (
    BOS,
    EOS,
    LONG_KINDS,
    PAD,
    SHORT_KINDS,
    SPECIAL_TOKENS,
    TOOLS_INTRODUCTION,
    document,
)

VOCABULARY = 4096

# Tools are listed as "- name(parameter: type, optional?: type): first line of the description", the form nano was trained on.
CHAT_TEMPLATE = (
    """{%- macro kind(schema) -%}
{%- if schema.enum is defined -%}{%- for value in schema.enum -%}{{ "'" ~ value ~ "'" }}{{ ' | ' if not loop.last }}{%- endfor -%}
{%- elif schema.type == 'array' -%}list[{{ kind(schema['items']) if schema['items'] is mapping else 'any' }}]
{%- elif schema.type is string -%}{{ schema.type }}
{%- else -%}any{%- endif -%}
{%- endmacro -%}
{{- bos_token -}}
{%- if tools or messages[0].role == 'system' -%}
{{- '<|im_start|>system\\n' -}}
{%- if messages[0].role == 'system' -%}{{- messages[0].content -}}{{- '\\n\\n' if tools -}}{%- endif -%}
{%- if tools -%}
{{- '"""
    + TOOLS_INTRODUCTION.replace("\n", "\\n")
    + """' -}}
{%- for tool in tools -%}
{%- set f = tool.function if tool.function is defined else tool -%}
{{- '\\n' if not loop.first -}}{{- '- ' ~ f.name ~ '(' -}}
{%- for name, schema in f.parameters.properties.items() -%}
{{- ', ' if not loop.first -}}{{- name ~ ('?' if name not in (f.parameters.required or []) else '') ~ ': ' -}}{{- kind(schema) -}}
{%- endfor -%}
{{- '): ' ~ f.description.split('\\n')[0] -}}
{%- endfor -%}
{%- endif -%}
{{- '<|im_end|>\\n' -}}
{%- endif -%}
{%- for message in messages -%}
{%- if message.role != 'system' -%}
{{- '<|im_start|>' ~ message.role ~ '\\n' ~ (message.content or '') -}}
{%- for call in message.tool_calls or [] -%}
{%- set f = call.function if call.function is defined else call -%}
{{- '<tool_call>{"name":"' ~ f.name ~ '","arguments":' ~ (f.arguments if f.arguments is string else f.arguments | tojson) ~ '}</tool_call>' -}}
{%- endfor -%}
{{- '<|im_end|>\\n' -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"""
)


def _texts(documents: int, seed: int) -> Iterator[str]:
    for number in range(documents):
        for segment in document(seed, number, LONG_KINDS if number % 8 == 7 else SHORT_KINDS):
            if not segment.special:
                yield segment.text


def train_tokenizer(documents: int = 40_000, seed: int = 0) -> PreTrainedTokenizerFast:
    """Train a BPE tokenizer with `VOCABULARY` tokens on the first documents of the corpus with this seed."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(documents, seed), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, SPECIAL_TOKENS.index(BOS))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=BOS, eos_token=EOS, pad_token=PAD, chat_template=CHAT_TEMPLATE,
        additional_special_tokens=[token for token in SPECIAL_TOKENS if token not in (BOS, EOS, PAD)], clean_up_tokenization_spaces=False,
    )  # fmt: skip
