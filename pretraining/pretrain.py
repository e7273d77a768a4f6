"""Pre-train nano from scratch: `python -m pretraining.pretrain`.

The run can be killed at any time; it resumes from its last checkpoint with the batches that would have followed. Matrices
are trained with Muon, everything else with AdamW. The learning rate warms up, stays constant, and falls to zero over the
last quarter.
"""

from __future__ import annotations

import copy
import json
import math
import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
import typer
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import load_file, save
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from langchain_toolken.disk.writing import writing
from langchain_toolken.nano import NANO_PATH
from pretraining.documents import END, EOS, LONG_KINDS, SHORT_KINDS, document
from pretraining.tokenizer import train_tokenizer

CONTEXT = 1024
LONG_EVERY = 4  # every fourth step trains on long documents


@dataclass(frozen=True)
class Batch:
    """Packed documents.

    Attributes:
        tokens: Token ids, (rows, length).
        weights: Loss weight of predicting each token, (rows, length).
        positions: Positions within the document, (rows, length). transformers derives the attention mask from them, so
            that documents in a row do not attend to each other.
    """

    tokens: NDArray[np.int64]
    weights: NDArray[np.float32]
    positions: NDArray[np.int64]


def make_batch(tokenizer: PreTrainedTokenizerFast, seed: int, step: int, rows: int, length: int) -> Batch:
    """Make the batch of one step, with documents packed best-fit. It depends only on the arguments, so resuming is exact."""
    kinds = SHORT_KINDS
    if step % LONG_EVERY == LONG_EVERY - 1:
        kinds, rows, length = LONG_KINDS, rows // 2, length * 2
    tokens = np.full((rows, length), tokenizer.pad_token_id, dtype=np.int64)
    weights = np.zeros((rows, length), dtype=np.float32)
    positions = np.zeros((rows, length), dtype=np.int64)
    free = np.full(rows, length)
    misses = 0
    for number in range(rows * length):
        segments = document(seed, step * rows * length + number, kinds)
        encoded = [
            tokenizer.backend_tokenizer.encode(segment.text, add_special_tokens=False).ids for segment in segments
        ]
        ids = [token for piece in encoded for token in piece]
        fitting = np.flatnonzero(free >= len(ids))
        if not len(fitting):
            misses += 1
            if misses > 8:
                break
            continue
        row = fitting[free[fitting].argmin()]
        start = length - free[row]
        end = start + len(ids)
        tokens[row, start:end] = ids
        weights[row, start:end] = [
            segment.weight for segment, piece in zip(segments, encoded, strict=True) for _ in piece
        ]
        positions[row, start:end] = np.arange(len(ids))
        free[row] -= len(ids)
    return Batch(tokens, weights, positions)


def batches(
    tokenizer: PreTrainedTokenizerFast, seed: int, first: int, last: int, rows: int, length: int, workers: int
) -> Iterator[Batch]:
    """The batches of steps ``first`` to ``last - 1`` in order, made ahead by ``workers`` processes."""
    if not workers:
        for step in range(first, last):
            yield make_batch(tokenizer, seed, step, rows, length)
        return
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    with ProcessPoolExecutor(workers) as pool:
        ahead = [
            pool.submit(make_batch, tokenizer, seed, step, rows, length)
            for step in range(first, min(last, first + 4 * workers))
        ]
        for step in range(first, last):
            yield ahead.pop(0).result()
            if (following := step + 4 * workers) < last:
                ahead.append(pool.submit(make_batch, tokenizer, seed, following, rows, length))


def learning_rate_factor(step: int, steps: int, warmup: int = 100, decay: float = 0.25) -> float:
    """Return the factor of the peak learning rate: warm-up, plateau, linear fall to zero.

    The plateau lets a run be extended without starting again.
    """
    fall = max(1, int(steps * decay))
    return min(1.0, (step + 1) / warmup, (steps - step) / fall)


def new_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    """Make the untrained model: 6.9M parameters, 6 layers of width 256.

    The head is untied, so that `head` and `input` priors differ.
    """
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=704,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=False,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


class Optimizers:
    """Muon for the layers' matrices, AdamW for embeddings, head and norms."""

    def __init__(self, model: LlamaForCausalLM, muon_rate: float, adam_rate: float) -> None:
        named = dict(model.named_parameters())
        self.matrices = {name: p for name, p in named.items() if p.ndim == 2 and ".layers." in name}
        self.others = {name: p for name, p in named.items() if name not in self.matrices}
        self.muon = torch.optim.Muon(
            self.matrices.values(), lr=muon_rate, weight_decay=0.05, momentum=0.95, adjust_lr_fn="match_rms_adamw"
        )
        self.adam = torch.optim.AdamW(self.others.values(), lr=adam_rate, betas=(0.9, 0.95), weight_decay=0.0)
        self.rates = (muon_rate, adam_rate)

    def step(self, factor: float) -> None:
        """Take a step at `factor` times the peak learning rates, and clear the gradients."""
        for optimizer, rate in zip((self.muon, self.adam), self.rates, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate * factor
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def state(self) -> dict[str, torch.Tensor]:
        """Return the state as tensors, for safetensors."""
        state: dict[str, torch.Tensor] = {}
        for optimizer, parameters in ((self.muon, self.matrices), (self.adam, self.others)):
            for name, parameter in parameters.items():
                state |= {
                    f"{name}|{key}": torch.as_tensor(value).clone() for key, value in optimizer.state[parameter].items()
                }
        return state

    def restore(self, state: dict[str, torch.Tensor]) -> None:
        """Load what `state` returned."""
        owners: dict[str, tuple[torch.optim.Optimizer, torch.nn.Parameter]] = {}
        optimizer: torch.optim.Optimizer
        for optimizer, parameters in ((self.muon, self.matrices), (self.adam, self.others)):
            owners |= {name: (optimizer, parameter) for name, parameter in parameters.items()}
        for key, value in state.items():
            name, _, entry = key.partition("|")
            optimizer, parameter = owners[name]
            optimizer.state[parameter][entry] = value if entry == "step" else value.to(parameter.device)


def save_checkpoint(folder: Path, step: int, model: LlamaForCausalLM, optimizers: Optimizers) -> None:
    """Save a checkpoint. It is written to another file and renamed, so that a kill leaves the previous one intact."""
    beside = folder / "checkpoint.partial"
    weights = {f"model|{name}": p.detach().contiguous() for name, p in model.named_parameters()}
    content = save(weights | {f"optimizer|{k}": v for k, v in optimizers.state().items()}, {"step": str(step)})
    with writing(folder / "checkpoint.safetensors"):
        folder.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(content)
        beside.replace(folder / "checkpoint.safetensors")


def load_checkpoint(folder: Path, model: LlamaForCausalLM, optimizers: Optimizers) -> int:
    """Load the checkpoint into model and optimizers, and return the next step; 0 if there is no checkpoint."""
    path = folder / "checkpoint.safetensors"
    if not path.exists():
        return 0
    tensors = load_file(path)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(tensors[f"model|{name}"])
    optimizers.restore({k.removeprefix("optimizer|"): v for k, v in tensors.items() if k.startswith("optimizer|")})
    with safe_open(path, "pt") as file:
        return int(file.metadata()["step"])


def export(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, out: Path, record: dict[str, Any]) -> None:
    """Write the checkpoint that the package bundles: bfloat16 weights, tokenizer, and a record of the training."""
    model = copy.deepcopy(model).bfloat16()
    ends = [tokenizer.convert_tokens_to_ids(token) for token in (EOS, END)]
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id, eos_token_id=ends, pad_token_id=tokenizer.pad_token_id
    )
    with writing(out):
        model.save_pretrained(out)
        tokenizer.save_pretrained(out)
        (out / "pretraining.json").write_text(json.dumps(record, indent=2) + "\n")


def main(
    tokens: Annotated[float, typer.Option(help="Tokens to train on, in millions.")] = 40.0,
    rows: Annotated[int, typer.Option(help="Rows per batch.")] = 40,
    length: Annotated[
        int, typer.Option(help="Tokens per row. Batches of long documents have half the rows of twice the length.")
    ] = 256,
    muon_rate: Annotated[float, typer.Option(help="Peak learning rate of the matrices.")] = 4e-3,
    adam_rate: Annotated[float, typer.Option(help="Peak learning rate of embeddings, head and norms.")] = 4e-3,
    seed: Annotated[int, typer.Option(help="Seed of the initial weights and of the corpus.")] = 1,
    workers: Annotated[int, typer.Option(help="Processes that make batches: about 12 with a GPU, 0 on 2 cores.")] = 0,
    checkpoints: Annotated[Path, typer.Option(help="Folder for the state of the run.")] = Path("nano-checkpoints"),
    checkpoint_every: Annotated[int, typer.Option(help="Steps between checkpoints.")] = 200,
    out: Annotated[Path, typer.Option(help="Folder for the finished model.")] = NANO_PATH,
) -> None:
    """Train nano from scratch or from the checkpoint, and write the finished model to OUT."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_float32_matmul_precision("high")
    checkpoints.mkdir(parents=True, exist_ok=True)
    if not (checkpoints / "tokenizer").exists():
        train_tokenizer().save_pretrained(checkpoints / "tokenizer")
    tokenizer = PreTrainedTokenizerFast.from_pretrained(checkpoints / "tokenizer")
    model = new_model(tokenizer, seed)
    torch.nn.Module.to(model, device)  # transformers' own wrapper of `to` hides its type
    optimizers = Optimizers(model, muon_rate, adam_rate)
    steps = math.ceil(tokens * 1e6 / (rows * length))
    first = load_checkpoint(checkpoints, model, optimizers)
    print(
        f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f}M parameters, steps {first} to {steps}, {device}",
        flush=True,
    )
    started, seen, mean = time.monotonic(), 0, 0.0
    for step, batch in enumerate(batches(tokenizer, seed, first, steps, rows, length, workers), first):
        ids, weights, positions = (
            torch.from_numpy(array).to(device) for array in (batch.tokens, batch.weights, batch.positions)
        )
        targets, target_weights = ids[:, 1:], weights[:, 1:]
        learned = target_weights > 0
        with torch.autocast(device.type, torch.bfloat16):
            hidden = model.model(input_ids=ids, position_ids=positions, use_cache=False).last_hidden_state[:, :-1]
            logits = model.lm_head(hidden[learned])
        losses = F.cross_entropy(logits.float(), targets[learned], reduction="none")
        loss = (losses * target_weights[learned]).sum() / target_weights.sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizers.step(learning_rate_factor(step, steps))
        seen += ids.numel()
        mean = loss.item() if step == first else 0.98 * mean + 0.02 * loss.item()
        if step % 20 == 0:
            line = {
                "step": step,
                "loss": round(mean, 4),
                "tokens": (step + 1) * rows * length,
                "tokens_per_second": round(seen / (time.monotonic() - started)),
            }
            print(json.dumps(line), flush=True)
            history = checkpoints / "log.jsonl"
            with writing(history), history.open("a") as log:
                log.write(json.dumps(line) + "\n")
        if (step + 1) % checkpoint_every == 0 or step + 1 == steps:
            save_checkpoint(checkpoints, step + 1, model, optimizers)
    record = {
        "tokens": steps * rows * length,
        "steps": steps,
        "rows": rows,
        "length": length,
        "seed": seed,
        "final_loss": round(mean, 4),
        "muon_rate": muon_rate,
        "adam_rate": adam_rate,
        "device": device.type,
    }
    export(model, tokenizer, out, record)
    print(f"written to {out}", flush=True)


if __name__ == "__main__":
    typer.run(main)
