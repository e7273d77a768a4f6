"""`FitResult`: the toolkens that a fit made and how it went."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.prompts.format import Style
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.training.calibration import BiasChoice
from langchain_toolken.training.calibration_temperature import TemperatureChoice
from langchain_toolken.training.demonstrations.demonstration import DroppedRow
from langchain_toolken.training.demonstrations.request_calls import PlaceChoice
from langchain_toolken.training.evidence.gate import GateChoice
from langchain_toolken.training.evidence.which import WhichChoice
from langchain_toolken.training.features.compute import Features
from langchain_toolken.training.report.figures import make_report
from langchain_toolken.training.report.records import FitReport
from langchain_toolken.training.selection import Selection
from langchain_toolken.training.solve.solver import Solution


@dataclass(frozen=True, eq=False, kw_only=True)
class FitResult:
    """The toolkens and how they were made.

    Attributes:
        toolkens: The set.
        lm: The LM it was fitted on.
        features: The features it was fitted on, over all tools of the set; None if nothing was fitted.
        demonstrations: How many demonstrations were used.
        dropped: Rows that were not used, with line and reason.
        unseen: Tools that no demonstration calls; their toolkens stay near their priors.
        lm_passes: How often each demonstration went through the LM: 1, or 0 without demonstrations or if stored
            features were reused; a recipe adds its epochs.
        solve_seconds: Wall clock of the solve, or of a recipe's training.
        solution: The optimum; None if nothing was solved, as with a recipe.
        selection: What cross-validation found; None if nothing was left to choose.
        bias: How the bias was chosen on held-out positions; None if it was not.
        temperature: How the calibration temperature was chosen on held-out positions; None if it was not.
        when: How gate and operating point were chosen on held-out requests; None if no gate was tried.
        which: How the sources of the choice among tools were weighed on held-out calls; None if they were not.
        place: Where the calls of texts were learned, if that was left to the fit; else None.
    """

    toolkens: ToolkenSet
    lm: LanguageModel
    features: Features | None
    demonstrations: int
    dropped: tuple[DroppedRow, ...]
    unseen: tuple[str, ...]
    lm_passes: int
    solve_seconds: float = 0.0
    solution: Solution | None = None
    selection: Selection | None = None
    bias: BiasChoice | None = None
    temperature: TemperatureChoice | None = None
    when: GateChoice | None = None
    which: WhichChoice | None = None
    place: PlaceChoice | None = None

    @property
    def style(self) -> Style:
        """The prompt style of the demonstrations, which the set remembers."""
        return self.toolkens.provenance.style

    @property
    def pass_seconds(self) -> float:
        """Wall clock of the LM pass."""
        return 0.0 if self.features is None else self.features.seconds

    @property
    def tool_positions(self) -> int:
        """Positions of the demonstrations at which a tool is called."""
        return 0 if self.features is None else self.features.tool_positions

    @property
    def word_positions(self) -> int:
        """Word positions that the solve used, after sampling."""
        return 0 if self.features is None else self.features.word_positions

    def report(self) -> FitReport:
        """Compute the figures of the report: K × V dot products for the nearest words, and no LM pass."""
        return make_report(
            self.toolkens,
            self.lm,
            features=self.features,
            selection=self.selection,
            bias=self.bias,
            solution=self.solution,
            solve_seconds=self.solve_seconds,
            lm_passes=self.lm_passes,
            demonstrations=self.demonstrations,
            dropped=self.dropped,
            unseen=self.unseen,
            place=self.place,
            when=None if self.when is None or self.when.gate is None else self.when.reliable,
            which=None if self.which is None or not self.which.helps else self.which.reliable,
        )

    def save(self, folder: str | Path) -> FitReport:
        """Save the toolkens with `report.json`, `report.html` and a model card (`README.md`) for the Hub.

        Args:
            folder: Where to save; a set that is there is replaced. All files are written, or none.

        Returns:
            The report.

        Raises:
            ToolkenSetError: `folder` holds files that no save wrote, or that were changed since.
        """
        from langchain_toolken.training.report.save import save_with_report  # plotly takes a second to import

        report = self.report()
        save_with_report(self.toolkens, report, folder)
        return report
