"""Two processes that fit together make the toolkens that one makes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from langchain_toolken.toolkens.set import ToolkenSet

ROOT = Path(__file__).parents[3]

# One interpreter imports everything and forks three processes: one fits alone, two fit together.
SCRIPT = """
import json, os, socket, sys
from pathlib import Path
import torch
from langchain_toolken.lm.load import load_language_model
from langchain_toolken.toolkens.priors import PriorConfig
from langchain_toolken.tools.spec import ToolSpec
from langchain_toolken.training.fit import fit
from tests.support.tiny import make_model, make_tokenizer

torch.set_num_threads(1)
lm = load_language_model(make_model("llama"), tokenizer=make_tokenizer())
specs = [ToolSpec(name=name, description=name, json_schema={}) for name in ("add", "multiply")]
rows = []
for i in range(12):
    text = f"Q: What is {i} and 7?{' So?' * (i % 4)}\\nA: That is {i}*7={i * 7}."
    rows.append({"text": text, "calls": [{"start": text.index("=") + 1, "tool": ("add", "multiply")[i % 2]}]})
out = Path(sys.argv[1])
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = str(free.getsockname()[1])

def fork(name, rank, count, folder):
    child = os.fork()
    if child:
        return child
    try:
        if count > 1:
            os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)}
            os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "ACCELERATE_USE_CPU": "true"}
        options = {"prior": PriorConfig(), "lam": 1e-3}
        found = fit(lm, specs, rows, batch_tokens=100, features_dir=folder, calls_from="answer", **options)
        found.toolkens.save(out / f"toolkens-{name}")
        facts = {"passes": found.lm_passes, "solved": found.solution is not None}
        (out / f"facts-{name}.json").write_text(json.dumps(facts))
        torch.save(found.features.hidden[:].clone(), out / f"hidden-{name}.pt")
        os._exit(0)
    except BaseException as error:
        print(name, repr(error), file=sys.stderr, flush=True)
        os._exit(1)

def wait(*children):
    for child in children:
        if os.waitpid(child, 0)[1]:
            sys.exit(1)

wait(fork("alone", 0, 1, None))
wait(*(fork(f"rank-{rank}", rank, 2, out / "features") for rank in range(2)))
wait(fork("again", 0, 1, out / "features"))
"""


@pytest.mark.slow
def test_two_processes_share_the_pass_and_get_the_toolkens_of_one(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    names = ("alone", "rank-0", "rank-1", "again")
    facts = {name: json.loads((tmp_path / f"facts-{name}.json").read_text()) for name in names}
    assert [facts[name]["solved"] for name in names] == [True, True, False, True]
    assert [facts[name]["passes"] for name in names] == [1, 1, 1, 0], "what two wrote, one reads"
    shares = [
        [json.loads(line)["batch"] for line in (tmp_path / "features" / f"done-{rank}.jsonl").read_text().splitlines()]
        for rank in range(2)
    ]
    assert sorted(shares[0] + shares[1]) == list(range(len(shares[0]) + len(shares[1]))), "each batch ran once"
    assert len(shares[0]) - len(shares[1]) in (0, 1)
    assert shares[1]
    expected = ToolkenSet.load(tmp_path / "toolkens-alone")
    hidden = torch.load(tmp_path / "hidden-alone.pt", weights_only=True)
    for name in names[1:]:
        found = ToolkenSet.load(tmp_path / f"toolkens-{name}")
        assert torch.equal(found.matrix, expected.matrix)
        assert torch.equal(torch.load(tmp_path / f"hidden-{name}.pt", weights_only=True), hidden)
        assert found.bias == expected.bias
        assert found.calibration == expected.calibration
