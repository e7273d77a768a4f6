"""evaluation.results_page: one page without outside assets, with figures where the runs have them, and two traces."""

from __future__ import annotations

import json
import re
from pathlib import Path

from langchain_toolken.evaluation.attempts import Attempt, TraceStep
from langchain_toolken.evaluation.results import Header, Results, Setting
from langchain_toolken.evaluation.results_page import figures, results_page, write_page
from langchain_toolken.evaluation.results_tables import as_markdown
from langchain_toolken.evaluation.run import tabulate
from langchain_toolken.evaluation.tasks import Task
from tests.support.browser import chromium
from tests.support.small_task import small_task

HEADER = Header(model="tiny </script>", dtype="float32", machine="none", versions={"python": "3"}, day="2026-11-28")


def answered(out: Path) -> Results:
    """Write answers of two methods, with ours at two numbers of demonstrations and two λ, and tabulate them."""
    (out / "header.json").write_text(HEADER.model_dump_json())
    for method, count, ablation, text in (
        ("ours", None, "", "13"),
        ("ours", 1, "", "?"),
        ("ours", 2, "", "13"),
        ("ours", None, "lam=0.1", "13"),
        ("ours", None, "lam=0.01", "?"),
        ("react", None, "", "<b>13</script>"),
    ):
        setting = Setting(task="small", method=method, demonstrations=count, ablation=ablation)
        steps = (TraceStep(kind="prompt", text="9 + 4?"), TraceStep(kind="thought", text=f"</script> {text}"))
        attempts = [Attempt(question=str(n), text=text, prompt_tokens=9, trace=steps) for n in range(2)]
        setting.file(out, 0).append(attempts)
    return tabulate(out, task_of)


def task_of(_: Setting) -> Task:
    return small_task()


def test_the_page_needs_nothing_from_outside_and_no_text_ends_its_scripts(tmp_path: Path) -> None:
    write_page(tmp_path, answered(tmp_path), task_of)
    page = (tmp_path / "results.html").read_text()
    own = page[page.index("</head>") :]
    assert not re.search(r"<(script|link|img|iframe)\b[^>]*(src|href)=", page)
    assert "tiny &lt;/script&gt;" in own
    shown = re.search(r'<script type="application/json" id="traces">(.*?)</script>', page, re.DOTALL)
    assert shown is not None
    traces = json.loads(shown[1])
    assert traces["small"]["0"]["methods"]["react"]["steps"] == [
        {"kind": "thought", "text": "</script> <b>13</script>"}
    ]
    assert set(traces["small"]["0"]["methods"]) == {"ours", "ours (lam=0.1)", "ours (lam=0.01)", "react"}


def test_figures_are_drawn_only_of_what_was_run_and_told_apart_without_colour(tmp_path: Path) -> None:
    drawn = dict(figures(answered(tmp_path).rows))
    assert set(drawn) == {"small: right answers against demonstrations a tool", "small: right answers against λ"}
    curve = drawn["small: right answers against λ"].data[0]
    assert (list(curve.x), list(curve.y)) == ([0.01, 0.1], [0.0, 0.5])
    counts = drawn["small: right answers against demonstrations a tool"]
    assert list(counts.layout.xaxis.ticktext) == ["1", "2", "all"]
    rows = answered(tmp_path).rows
    more = [row.model_copy(update={"tools": tools}) for tools in (4, 40) for row in rows]
    lines = dict(figures(more))["small: prompt tokens of a question against the number of tools"].data
    assert len({(line.marker.symbol, line.line.dash) for line in lines}) == len(lines) == 2
    assert len({float(line.x[0]) for line in lines}) == 2, "their points at 4 tools do not overlap"
    names = [
        line.name
        for line in dict(figures(more))["small: right answers with something changed, against the number of tools"].data
    ]
    assert names == ["ours", "ours, lam=0.01", "ours, lam=0.1"]


def test_a_curve_of_lambda_has_the_recipes_own_too(tmp_path: Path) -> None:
    rows = [
        row.model_copy(update={"setting": row.setting.model_copy(update={"method": "tokenlearning"})})
        for row in answered(tmp_path).rows
        if row.setting.method == "ours" and row.setting.demonstrations is None
    ]
    (curve,) = dict(figures(rows))["small: right answers against λ"].data
    assert (list(curve.x), list(curve.y)) == ([0.001, 0.01, 0.1], [0.5, 0.0, 0.5])


def test_more_methods_than_shapes_keep_marks_of_their_own(tmp_path: Path) -> None:
    one = next(row for row in answered(tmp_path).rows if row.setting == Setting(task="small", method="react"))
    many = [
        one.model_copy(update={"tools": tools, "setting": one.setting.model_copy(update={"method": f"m{number}"})})
        for number in range(24)
        for tools in (4, 40)
    ]
    figure = dict(figures(many))["small: prompt tokens of a question against the number of tools"]
    assert len({line.marker.symbol for line in figure.data}) == 24
    assert figure.layout.height > 24 * 19, "the list of methods needs no scrolling, which paper can't do"


def test_ours_without_demonstrations_is_where_its_curve_begins(tmp_path: Path) -> None:
    answered(tmp_path)
    setting = Setting(task="small", method="ours_zero_shot")
    setting.file(tmp_path, 0).append([Attempt(question="0", text="13"), Attempt(question="1", text="13")])
    figure = dict(figures(tabulate(tmp_path, task_of).rows))["small: right answers against demonstrations a tool"]
    (ours,) = [line for line in figure.data if line.name == "ours"]
    assert list(figure.layout.xaxis.ticktext) == ["0", "1", "2", "all"]
    assert list(ours.y) == [0.5, 0.0, 0.5, 0.5]


def test_tables_are_written_as_markdown_with_machine_and_comparison(tmp_path: Path) -> None:
    text = as_markdown(answered(tmp_path))
    assert text.startswith("LM: tiny </script>, float32. 2026-11-28, none; python 3.")
    assert "**small: 2 tools, all demonstrations**" in text
    assert "| ours | 0.50 (0.00 to 1.00) of 2 |  |" in text
    assert "| react | 0.00 (0.00 to 0.66) of 2 | -0.50 from ours (p = 1.000) |" in text
    assert re.search(r"\| ours, lam=0.1 \| [^|]+\| \+0.00 from ours \(p = 1.000\) \|", text)
    assert text.index("| ours, lam=0.01 | 0.00") < text.index("| ours, lam=0.1 | 0.50")


def test_a_markdown_table_has_the_columns_that_say_something(tmp_path: Path) -> None:
    results = answered(tmp_path)
    assert "false calls" not in as_markdown(results)
    assert "grounded" not in as_markdown(results)
    marked = [row.model_copy(update={"marks": {"grounded": 1.0}}) for row in results.rows]
    text = as_markdown(results.model_copy(update={"rows": marked}))
    assert text.count("| grounded |") == len(re.findall(r"^\*\*", text, re.MULTILINE))
    assert text.count("| 0.0 | 1.00 |\n") == len(marked)


def test_tasks_that_differ_in_their_tools_alone_come_in_one_table_first(tmp_path: Path) -> None:
    results = answered(tmp_path)
    sizes = [
        row.model_copy(update={"tools": tools, "setting": row.setting.model_copy(update={"task": f"small_{tools}"})})
        for tools in (40, 4)
        for row in results.rows
        if row.setting.demonstrations is None and (tools == 4 or row.setting.method == "ours")
    ]
    text = as_markdown(results.model_copy(update={"rows": sizes, "comparisons": ()}))
    titles = re.findall(r"^\*\*(.*)\*\*$", text, re.MULTILINE)
    assert titles[0] == "small: right answers by the number of tools"
    assert [title.partition(",")[0] for title in titles[1:]] == ["small_4: 4 tools", "small_40: 40 tools"]
    assert "| method | 4 tools | 40 tools |" in text
    assert "| ours, lam=0.1 | 0.50 (0.00 to 1.00) of 2 | 0.50 (0.00 to 1.00) of 2 |" in text
    assert "| react | 0.00 (0.00 to 0.66) of 2 |  |" in text


def test_a_page_of_no_runs_has_its_places() -> None:
    assert "One question, two methods" in results_page(Results(header=HEADER, rows=(), comparisons=()), {})


def test_on_a_phone_only_tables_are_wider_than_the_page_and_figures_keep_their_room(tmp_path: Path) -> None:
    results = answered(tmp_path)
    many = [
        row.model_copy(update={"tools": tools, "setting": row.setting.model_copy(update={"method": f"no_{number}"})})
        for number in range(9)
        for tools in (4, 40)
        for row in results.rows[:1]
    ]
    write_page(tmp_path, results.model_copy(update={"rows": (*results.rows, *many)}), task_of)
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 400, "height": 800})
        page.goto((tmp_path / "results.html").as_uri())
        page.wait_for_selector(".legend")
        assert page.evaluate("document.documentElement.scrollWidth") == 400
        for figure in page.query_selector_all(".plotly-graph-div"):
            inner = figure.query_selector(".main-svg").bounding_box()
            assert inner["height"] <= figure.query_selector("xpath=..").bounding_box()["height"]
        assert page.locator("#right").input_value() == "ours"
        assert page.locator("#left").input_value() == "react"
        assert "WHOLE ANSWER\n<b>13</script>" in page.locator("#left-trace").inner_text()
        assert page.locator("#left option").all_inner_texts()[-1] == "react ✗"
