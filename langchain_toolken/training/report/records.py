"""`FitReport`: what `report.json` holds, and reading it back."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from langchain_toolken.disk.reading import parse_json, read_file
from langchain_toolken.errors import ToolkenError
from langchain_toolken.toolkens.examples import ArgumentSettings
from langchain_toolken.toolkens.provenance import Calibration

REPORT_FILE = "report.json"
# Version 3 added the arguments' figures, version 4 how reliable the evidence's probabilities are.
REPORT_VERSION = 4
_READABLE_VERSIONS = (2, 3, 4)
# The name of "no call" among the tools of a confusion.
NO_CALL = "(no call)"
# 47,000 tools with five neighbours of each kind take 60 MB.
_MOST_BYTES = 512 << 20


class ReportError(ToolkenError, ValueError):
    """A report.json that can't be read; the message names the file and the next step."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Neighbour(_Record):
    """A word or a tool whose row is close to a toolken.

    Attributes:
        name: The word or the tool's name.
        similarity: Cosine of the two rows, -1 to 1.
    """

    name: str
    similarity: float


class LamTried(_Record):
    """One λ and prior in cross-validation; see `selection.PathPoint`."""

    prior: str
    lam: float
    loss: float
    error: float
    top1: float
    f1: float
    best_f1: float
    untrained: float


class Dropped(_Record):
    """A demonstration that was not used."""

    source: str
    line: int
    reason: str


class Confusion(_Record):
    """Held-out positions at which the wrong tool, or a call instead of a word, was predicted.

    Attributes:
        due: The right tool, or `NO_CALL`.
        called: The tool that was called, or `NO_CALL`.
        count: How many such positions there are, by weight.
    """

    due: str
    called: str
    count: float


class Reliability(_Record):
    """One bin of held-out calls; see `calibration_temperature.ReliabilityBin`."""

    probability: float
    right: float
    mass: float


class Calibrated(_Record):
    """How reliable held-out probabilities are, before and after calibration; see `evidence.reliable.Reliable`."""

    before: list[Reliability]
    after: list[Reliability]
    ece_before: float
    ece_after: float


class ToolReport(_Record):
    """One tool.

    Attributes:
        name: The tool's name.
        description: Its description.
        calls: Positions in the demonstrations that call it.
        precision: On held-out positions; None if nothing was held out or the tool was never called.
        recall: On held-out positions; None if nothing was held out or the tool was never due.
        f1: On held-out positions; None if nothing was held out or the tool was neither due nor called.
        arguments: Share of its held-out calls with all arguments right, the tool being given; None if none was tried.
        argument_calls: How many were tried.
        bias: What is added to its logit.
        moved: ‖w − w⁰‖ / ‖w⁰‖, how far the solve moved the row from its prior.
        nearest_words: Words with the most similar rows, nearest first.
        nearest_tools: Tools with the most similar toolkens, nearest first.
        x: Place on the map.
        y: Place on the map.
    """

    name: str
    description: str
    calls: int
    precision: float | None
    recall: float | None
    f1: float | None
    arguments: float | None = None
    argument_calls: int = 0
    bias: float
    moved: float
    nearest_words: list[Neighbour]
    nearest_tools: list[Neighbour]
    x: float
    y: float


class WordOnMap(_Record):
    """A word of the LM near some toolken, on the same map."""

    word: str
    x: float
    y: float


class FitReport(_Record):
    """All that `report.json` holds.

    Seconds are wall clock, shares are between 0 and 1, and None means "not measured". Most fields are those of
    `FitResult`, `Selection`, `Solution` and `Provenance`.

    Attributes:
        arguments: The form of the tools' cards and how it was chosen.
        examples: How many demonstrated calls the set keeps for its tools' cards.
        calls_from: Where the calls of texts were learned and why, if that was left to the fit.
        when: What a gate's probabilities of a call mean, where requests call as often as not.
        which: What the first tool's probability among the tools means, by the toolkens alone and by all evidence.
        dropped_count: All dropped demonstrations; `dropped` lists the first 1,000 of them.
        map_share: Share of the variance of the toolkens' directions that the map's two axes hold.
    """

    report_version: int = REPORT_VERSION
    model_id: str
    style: str
    prior: str
    lam: float | None
    bias: float
    demonstrations: int
    tool_positions: int
    word_positions: int
    dropped_count: int
    dropped: list[Dropped]
    unseen: list[str]
    lm_passes: int
    pass_seconds: float
    selection_seconds: float | None
    solve_seconds: float
    iterations: int | None
    gradient_norm: float | None
    converged: bool | None
    selection_note: str
    path: list[LamTried]
    calibration: Calibration | None
    arguments: ArgumentSettings | None = None
    examples: int = 0
    calls_from: str = ""
    reliability_before: list[Reliability]
    reliability_after: list[Reliability]
    when: Calibrated | None = None
    which: Calibrated | None = None
    confusions: list[Confusion]
    tools: list[ToolReport]
    words: list[WordOnMap]
    map_share: float


def read_report(folder: str | Path) -> FitReport | None:
    """Read the report of a saved set.

    Args:
        folder: The set's folder.

    Returns:
        The report, or None if the folder has none.

    Raises:
        ReportError: The file is no report of this version.
    """
    file = Path(folder) / REPORT_FILE
    try:
        raw = read_file(file, most=_MOST_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ReportError(f"{file} can't be read ({error.strerror}): fit again, or delete it") from error
    try:
        content = parse_json(raw)
        version = content.get("report_version")
        if version not in _READABLE_VERSIONS:
            raise ReportError(
                f"{file} has report version {version!r}, and this version of langchain-toolken reads "
                f"{' and '.join(map(str, _READABLE_VERSIONS))}: fit again, or delete it"
            )
        return FitReport.model_validate(content)
    except ReportError:
        raise
    except (ValueError, AttributeError, RecursionError) as error:
        raise ReportError(f"{file} is not a report of `toolken fit` ({error}): fit again, or delete it") from error
