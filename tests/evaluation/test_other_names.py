"""evaluation.other_names: names that say nothing or something else, with descriptions left as they are."""

from __future__ import annotations

from langchain_toolken.evaluation.other_names import renamed
from langchain_toolken.evaluation.task_loaders import load_task
from langchain_toolken.toolkens.priors import says_nothing


def test_tools_get_other_names_and_keep_their_descriptions() -> None:
    nano = load_task("nano", None)
    assert renamed(nano, "own") is nano
    for naming, nothing in (("meaningless", True), ("irrelevant", False)):
        other = renamed(nano, naming)  # type: ignore[arg-type]
        assert len({spec.name for spec in other.specs}) == 13
        assert [spec.description for spec in other.specs] == [spec.description for spec in nano.specs]
        assert all(says_nothing(spec.name) == nothing for spec in other.specs[:10])
