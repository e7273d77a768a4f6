"""Features in a folder equal those in memory after any interruption."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from threading import Event, Thread

import pytest
import torch
from torch import Tensor

from langchain_toolken.disk.lock import held
from langchain_toolken.lm.load import load_language_model
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.lm.transformers_model import TransformersModel
from langchain_toolken.tools.spec import ToolSpec
from langchain_toolken.training.features import store as store_module
from langchain_toolken.training.features.compute import Features, compute_features
from langchain_toolken.training.features.manifest import FeatureStoreError
from langchain_toolken.training.features.mapped_states import MappedStates
from langchain_toolken.training.features.store import FeatureStore, FeatureStoreWarning
from langchain_toolken.training.fit import fit
from langchain_toolken.training.selection import select_lam
from langchain_toolken.training.solve.solver import solve
from tests.support.feature_stores import NAMES, assert_same, compute, demonstrations
from tests.support.tiny import make_model

ROOT = Path(__file__).parents[3]


def test_a_folder_gives_what_memory_gives_and_the_second_time_without_the_lm(
    tiny_llama: LanguageModel, tmp_path: Path, monkeypatch
) -> None:
    in_memory = compute(tiny_llama, None)
    written = compute(tiny_llama, tmp_path / "features")
    assert_same(in_memory, written)
    assert (written.lm_passes, written.tokens) == (1, in_memory.tokens)
    widths = []
    forward = TransformersModel.hidden_states
    monkeypatch.setattr(
        TransformersModel,
        "hidden_states",
        lambda self, ids, *a, **k: widths.append(ids.numel()) or forward(self, ids, *a, **k),
    )
    read = compute(tiny_llama, tmp_path / "features")
    assert_same(in_memory, read)
    assert (read.lm_passes, read.tokens) == (0, 0)
    assert widths == [1], "one token tells the states' dtype; no demonstration went through"


@pytest.mark.slow
def test_another_lambda_fits_from_the_folder(tiny_llama: LanguageModel, tmp_path: Path) -> None:
    rows = [demo.model_dump(exclude={"before", "line", "source"}) for demo in demonstrations()]
    specs = [ToolSpec(name=name, description=name, json_schema={}) for name in NAMES]
    first = fit(tiny_llama, specs, rows, lam=1e-3, features_dir=tmp_path)
    again = fit(tiny_llama, specs, rows, lam=1e-2, features_dir=tmp_path)
    plain = fit(tiny_llama, specs, rows, lam=1e-2)
    assert (first.lm_passes, again.lm_passes, plain.lm_passes) == (1, 0, 1)
    assert torch.equal(again.toolkens.matrix, plain.toolkens.matrix)


def test_mapped_features_are_used_as_those_in_memory_are(tiny_llama: LanguageModel) -> None:
    in_memory, mapped = compute(tiny_llama, None), compute(tiny_llama, None, in_memory_bytes=0)
    assert isinstance(in_memory.hidden, Tensor)
    assert isinstance(mapped.hidden, MappedStates)
    assert_same(in_memory, mapped)
    assert mapped.hidden.shape == in_memory.hidden.shape
    assert mapped.hidden.numel() == in_memory.hidden.numel()
    kept = torch.arange(len(mapped)) % 3 != 1
    assert_same(in_memory.subset(kept), mapped.subset(kept))
    last = torch.tensor([5, 2, 2, 0])
    assert_same(in_memory.subset(kept).subset(last), mapped.subset(kept).subset(last))
    for part in (slice(2, 9), last, kept):
        assert torch.equal(in_memory.hidden[part], mapped.hidden[part])
    subset = mapped.subset(kept).hidden
    assert isinstance(subset, MappedStates)
    assert subset.file.data_ptr() == mapped.hidden.file.data_ptr(), "a view, not a copy"
    prior = torch.zeros(2, tiny_llama.hidden_size)
    assert torch.equal(solve(in_memory, prior, 1e-3).matrix, solve(mapped, prior, 1e-3).matrix)
    one, other = (select_lam(found, {"zero": prior}, [1e-2, 1e-3]) for found in (in_memory, mapped))
    assert one.path == other.path


def test_a_temporary_folder_lives_as_long_as_its_features(tiny_llama: LanguageModel) -> None:
    mapped = compute(tiny_llama, None, in_memory_bytes=0)
    assert isinstance(mapped.hidden, MappedStates)
    assert mapped.hidden.folder is not None
    folder = Path(mapped.hidden.folder.name)
    fold = mapped.subset(torch.tensor([1]))
    del mapped
    assert folder.exists()
    assert fold.hidden[:].shape[0] == 1
    del fold
    assert not folder.exists()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_states_of_a_16_bit_lm_are_kept_in_16_bits_and_lose_nothing(
    tiny_llama: LanguageModel, tmp_path: Path, dtype: torch.dtype
) -> None:
    lm = load_language_model(make_model("llama").to(dtype), tokenizer=tiny_llama.tokenizer)
    in_memory, stored = compute(lm, None), compute(lm, tmp_path)
    assert_same(in_memory, stored)
    assert isinstance(stored.hidden, Tensor)
    assert stored.hidden.dtype == torch.float32
    assert (tmp_path / "hidden.bin").stat().st_size == 2 * stored.hidden.numel()


@pytest.mark.slow
def test_a_kill_at_any_write_loses_no_finished_batch_and_changes_nothing(tmp_path: Path) -> None:
    """kill -9 in forks of one process, after each write: of the empty store, the states, the words and the notes."""
    script = f"""
import os, signal, sys
from pathlib import Path
import torch
from langchain_toolken.disk.lock import held
from langchain_toolken.disk.writing import WriteError
from langchain_toolken.lm.load import load_language_model
from tests.support.feature_stores import NAMES, assert_same, compute, demonstrations
from tests.support.tiny import make_model, make_tokenizer
from tests.support.feature_stores import compute, demonstrations

lm, root = load_language_model(make_model("llama"), tokenizer=make_tokenizer()), Path({str(tmp_path)!r})

def forked(folder, kill_at):
    child = os.fork()
    if child == 0:
        calls = [0]
        sync = os.fsync
        def counted(file):
            sync(file)
            calls[0] += 1
            if calls[0] == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
        os.fsync = counted
        found = compute(lm, root / folder, demonstrations(9))
        os._exit(0 if found.lm_passes == 1 else 3)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

assert forked("whole", None) == 0
made = 6  # four files, the manifest and the folder
writes = made + 4 * (len((root / "whole" / "done-0.jsonl").read_text().splitlines()))
assert writes >= 14
for kill_at in range(1, writes):
    folder = f"killed-{{kill_at}}"
    assert forked(folder, kill_at) == -signal.SIGKILL, kill_at
    if kill_at >= made:
        with open(root / folder / "done-0.jsonl", "ab") as notes:
            notes.write(b'{{"batch": 0, "sha')  # left by a kill during a write
        before = (root / folder / "done-0.jsonl").read_bytes().count(b"\\n")
        assert before == (kill_at - made) // 4
    assert forked(folder, None) == 0, kill_at
    noted = (root / folder / "done-0.jsonl").read_bytes().count(b"\\n")
    assert noted == (writes - made) // 4, "finished batches ran again"
print(writes)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={"OMP_NUM_THREADS": "1", "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for kill_at in range(1, int(done.stdout)):
        for name in ("hidden.bin", "words.bin", "requests.bin", "targets.safetensors", "manifest.json", "done-0.jsonl"):
            killed, whole = (tmp_path / folder / name for folder in (f"killed-{kill_at}", "whole"))
            assert killed.read_bytes() == whole.read_bytes(), (kill_at, name)


def test_a_fit_that_starts_while_another_makes_the_folder_waits_and_reads_what_that_wrote(
    tiny_llama: LanguageModel, tmp_path: Path, monkeypatch
) -> None:
    """The moment that went wrong: one has seen that there is no manifest, and the other has made it meanwhile."""
    create = FeatureStore.create
    waits_or_done = Event()
    found: list[Features] = []

    def other() -> None:
        found.append(compute(tiny_llama, tmp_path / "new"))
        waits_or_done.set()

    def tells(file: Path, on_wait) -> AbstractContextManager[bool]:
        return held(file, on_wait=lambda: (waits_or_done.set(), on_wait()))

    thread = Thread(target=other)

    def made_after_the_other_began(*args, **kwargs) -> FeatureStore:
        if not found and not thread.is_alive():
            thread.start()
            waits_or_done.wait()
        return create(*args, **kwargs)

    monkeypatch.setattr(store_module, "held", tells)
    monkeypatch.setattr(FeatureStore, "create", made_after_the_other_began)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        first = compute(tiny_llama, tmp_path / "new")
        thread.join()
    told = [str(one.message) for one in said if one.category is FeatureStoreWarning]
    assert len(told) == 1
    assert "another process is computing the features in it. Waiting" in told[0]
    assert_same(first, compute(tiny_llama, None))
    assert_same(found[0], first)
    assert (first.lm_passes, found[0].lm_passes) == (1, 0)
    assert not (tmp_path / "new" / "lock").exists()


def test_without_locks_what_two_have_overwritten_is_noticed(
    tiny_llama: LanguageModel, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(store_module, "held", lambda file, on_wait: nullcontext(False))
    create = FeatureStore.create

    def made_after_the_other_is_done(*args, **kwargs) -> FeatureStore:
        monkeypatch.setattr(FeatureStore, "create", create)
        compute(tiny_llama, tmp_path / "new")
        return create(*args, **kwargs)

    monkeypatch.setattr(FeatureStore, "create", made_after_the_other_is_done)
    with pytest.raises(FeatureStoreError, match="do not match their checksum"):
        compute(tiny_llama, tmp_path / "new")


def test_a_folder_that_a_kill_left_unfinished_is_begun_again(tiny_llama: LanguageModel, tmp_path: Path) -> None:
    """Also between the manifest's two names, which was refused for ever."""
    for name in ("lock", "targets.safetensors", "hidden.bin", "words.bin", "manifest.json.new"):
        (tmp_path / name).write_bytes(b"torn")
        assert_same(compute(tiny_llama, None), compute(tiny_llama, tmp_path))
        for file in tmp_path.iterdir():
            file.unlink()


def test_the_requests_mean_states_are_kept(tiny_llama: LanguageModel, tmp_path: Path) -> None:
    first, again = compute(tiny_llama, tmp_path), compute(tiny_llama, tmp_path)
    assert again.lm_passes == 0
    assert first.requests is not None
    assert again.requests is not None
    assert first.requests.abs().sum(dim=1).min() > 0
    assert torch.equal(first.requests, again.requests)


def test_another_seed_is_no_other_features_where_nothing_is_sampled(tiny_llama: LanguageModel, tmp_path: Path) -> None:
    compute(tiny_llama, tmp_path, seed=0)
    assert compute(tiny_llama, tmp_path, seed=1).lm_passes == 0
    with pytest.raises(FeatureStoreError, match="seed"):
        compute(tiny_llama, tmp_path, seed=1, negatives_per_demonstration=3)


def test_a_store_goes_on_in_the_batches_it_began_with(tiny_llama: LanguageModel, tmp_path: Path) -> None:
    whole = compute(tiny_llama, tmp_path)
    notes = tmp_path / "done-0.jsonl"
    lines = notes.read_text().splitlines(keepends=True)
    notes.write_text("".join(lines[:1]))
    rest = compute_features(tiny_llama, demonstrations(), NAMES, "completion", batch_tokens=1, folder=tmp_path)
    assert_same(whole, rest)
    assert rest.lm_passes == 1
    assert rest.tokens < whole.tokens
    assert sorted(json.loads(line)["batch"] for line in notes.read_text().splitlines()) == list(range(len(lines)))
