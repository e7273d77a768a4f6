"""The page in a real browser: all that it offers, by mouse and keyboard, with a hostile name among the tools."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from langchain_core.messages import HumanMessage

from langchain_toolken.chat import why
from langchain_toolken.chat.model import ToolkenChat
from langchain_toolken.chat.why import explain
from langchain_toolken.decoding.local.engine import TransformersEngine
from langchain_toolken.prompts.call_cards import CallExample
from langchain_toolken.serve.app import make_app
from langchain_toolken.serve.completions import Served
from langchain_toolken.toolkens.examples import Examples
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.tools.spec import ToolSpec, tool_spec
from langchain_toolken.training.demonstrations.load import load_demonstrations
from langchain_toolken.training.report.records import Confusion
from tests.support.browser import chromium
from tests.support.evidence import make_evidence
from tests.support.passes import Passes, wait_until
from tests.support.serving import running
from tests.support.tiny import make_lm
from tests.support.toolken_sets import provenance_of
from tests.support.tools import door, lamp, multiply

HOSTILE = "<img src=x onerror=window.hit=1>"
DIM = ToolSpec(
    name="dim",
    description="Dim a lamp.",
    json_schema={
        "type": "object",
        "properties": {
            "percent": {"type": "integer", "minimum": 10, "maximum": 99},
            "room": {"enum": ["hall", "bath"]},
        },
        "required": ["percent", "room"],
    },
)
TOOLS = (*map(tool_spec, (multiply, lamp, door)), DIM, ToolSpec(name=HOSTILE, description="Bad.", json_schema={}))
REQUEST = "Turn the lamp on, please."


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def served() -> Served:
    lm = make_lm()
    rows = torch.randn(len(TOOLS), lm.hidden_size, generator=torch.Generator().manual_seed(1)) * 0.3
    toolkens = ToolkenSet(TOOLS, rows, rows * 0.5, 0.0, provenance_of(lm, "chat"))
    evidence = make_evidence(toolkens, threshold=0.0)
    assert evidence.gate is not None
    evidence = replace(evidence, gate=replace(evidence.gate, points=((0.0, 60.0), (0.05, 0.5), (0.5, -60.0))))
    calls = (CallExample(tool="lamp", request="Make it <b>dark</b>", arguments={"state": "off"}),)
    toolkens = replace(toolkens, evidence=evidence, examples=Examples(calls))
    chat = ToolkenChat.from_engine(TransformersEngine(lm), toolkens, max_argument_tokens=24)
    return Served(chat, toolkens, "tiny", confusions=[Confusion(due="lamp", called=HOSTILE, count=3.0)])


@pytest.fixture(scope="module")
def address(served: Served) -> Iterator[str]:
    with running(make_app(served)) as found:
        yield found


@dataclass
class Visit:
    """A page, the addresses that it asked for, and what went wrong in it."""

    page: Any
    asked: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


@pytest.fixture
def visit(browser: Any, address: str) -> Iterator[Visit]:
    context = browser.new_context(accept_downloads=True, reduced_motion="reduce")
    visit = Visit(context.new_page())
    visit.page.set_default_timeout(20_000)
    visit.page.on("request", lambda request: visit.asked.append(request.url))
    visit.page.on("pageerror", lambda error: visit.faults.append(str(error)))
    visit.page.on("console", lambda said: visit.faults.append(said.text) if said.type == "error" else None)
    visit.page.goto(f"{address}/")
    yield visit
    context.close()
    assert not visit.faults
    assert all(url.startswith((address, "blob:", "data:")) for url in visit.asked)


def look(page: Any, request: str = REQUEST) -> Any:
    page.get_by_label("Request").fill(request)
    page.get_by_role("button", name="Look").click()
    page.locator("#result").wait_for(state="visible")
    return page


def said_by(served: Served) -> Any:
    return explain(why.look(served.chat.decoding_setup(), [HumanMessage(REQUEST)]))


def test_the_timeline_has_the_places_and_marks_where_a_tool_fires(visit: Visit, served: Served) -> None:
    page, said = look(visit.page), said_by(served)
    places = page.locator(".place")
    assert places.count() == len(said.places)
    heights = page.eval_on_selector_all(".place .share", "all => all.map(one => parseFloat(one.style.height))")
    assert heights == pytest.approx([100 * place.call for place in said.places], abs=1)
    marks = places.locator(".mark").all_inner_texts()
    assert [at for at, mark in enumerate(marks) if mark] == ([] if said.fires_at is None else [said.fires_at])
    assert f"The prompt has {said.prompt_tokens} tokens" in page.locator("#saved").inner_text()
    assert str(said.described_tokens - said.prompt_tokens) in page.locator("#saved").inner_text()


def test_the_bars_have_the_likeliest_tools_no_call_and_the_parts(visit: Visit, served: Served) -> None:
    page, said = look(visit.page), said_by(served)
    place = said.places[said.looked_at]
    names = page.locator("#bars .tool > :first-child").all_inner_texts()
    assert [name for name in names if name != "no call"] == [one.tool for one in place.tools]
    assert "no call" in names
    parts = page.locator("#bars .parts").first.locator("li").all_inner_texts()
    assert [part.split()[0] for part in parts] == list(place.tools[0].parts)


def test_the_slider_moves_the_operating_point_and_says_what_it_stands_for(visit: Visit) -> None:
    page = look(visit.page)
    slider, means, verdict = (
        page.get_by_label("Operating point"),
        page.locator("#point-means"),
        page.locator("#verdict"),
    )
    assert "the set's own point" in means.inner_text()
    assert "5.0% to 50% of the held-out requests" in means.inner_text()
    slider.focus()
    page.keyboard.press("Home")
    assert "0.0% of the held-out requests" in means.inner_text()
    assert "Nothing fires" in verdict.inner_text()
    page.keyboard.press("End")
    assert "50% of the held-out requests" in means.inner_text()
    assert "fires at once" in verdict.inner_text()
    assert slider.get_attribute("aria-valuetext") == means.inner_text()


def test_the_timeline_is_walked_by_keyboard(visit: Visit) -> None:
    page = look(visit.page)
    page.locator(".place[tabindex='0']").focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("[...document.querySelectorAll('.place')].indexOf(document.activeElement)") == 1
    assert page.locator(".place[aria-selected=true]").count() == 1
    assert "at place 1" in page.locator("#which-place").inner_text()


def test_a_request_can_be_sent_without_a_mouse(visit: Visit) -> None:
    visit.page.get_by_label("Request").fill(REQUEST)
    visit.page.keyboard.press("Control+Enter")
    visit.page.locator("#result").wait_for(state="visible")


def test_why_not_has_rank_gap_parts_nearest_demonstrations_and_what_is_missing(visit: Visit, served: Served) -> None:
    page, said = look(visit.page), said_by(served)
    page.get_by_label("Tool", exact=True).fill("lamp")
    page.get_by_role("button", name="Why not?").click()
    answer = page.locator("#why-answer")
    answer.locator("dl").wait_for()
    text = answer.inner_text()
    rank = next(one.rank for one in said.places[said.looked_at].tools if one.tool == "lamp")
    assert f"{rank} of {len(TOOLS)}" in text
    assert "would fire" in text
    assert "Make it <b>dark</b>" in text
    page.get_by_label("Tool", exact=True).fill("lmap")
    page.get_by_role("button", name="Why not?").click()
    page.get_by_text("there is no toolken named 'lmap'").wait_for()
    visit.faults = [fault for fault in visit.faults if "404" not in fault]  # the browser logs the answer's status


def test_a_bar_forces_its_tool_and_the_call_becomes_a_demonstration(
    visit: Visit, tmp_path: Path, served: Served
) -> None:
    page = look(visit.page)
    page.get_by_role("button", name="Force lamp").click()
    page.locator("#call-arguments[aria-busy=false]").wait_for()
    arguments = json.loads(page.locator("#call-arguments").inner_text())
    assert arguments["state"] in ("on", "off")
    assert "lamp(" in page.locator("#call-signature").inner_text()
    page.locator("#corrected").fill("{")
    page.get_by_role("button", name="Add as demonstration").click()
    assert "no JSON object" in page.locator("#add-fault").inner_text()
    page.locator("#corrected").fill('{"state": "on"}')
    page.get_by_role("button", name="Add as demonstration").click()
    page.get_by_role("button", name="no tool is needed").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download 2 demonstrations").click()
    download.value.save_as(tmp_path / "more.jsonl")
    loaded = load_demonstrations(tmp_path / "more.jsonl", [tool_spec(lamp), tool_spec(door)])
    assert [call.tool for row in loaded.demonstrations for call in row.calls] == ["lamp"]
    assert len(loaded.demonstrations) == 2


def test_the_arguments_grow_while_they_are_decoded_until_another_bar_is_pressed(
    visit: Visit, served: Served, passes: Passes
) -> None:
    page = look(visit.page)
    shown, permits = page.locator("#call-arguments"), threading.Semaphore(0)
    passes.before = lambda _: permits.acquire() and None
    page.get_by_role("button", name="Force lamp").click()
    shown.get_by_text('{"state":', exact=False).wait_for()  # before the LM has run
    assert shown.get_attribute("aria-busy") == "true"
    assert page.get_by_role("button", name="Add as demonstration").is_disabled()
    page.get_by_role("button", name="Force dim").click()
    shown.get_by_text('{"percent":', exact=False).wait_for()
    texts = [shown.inner_text()]
    while shown.get_attribute("aria-busy") == "true":
        permits.release()
        if (text := shown.inner_text()) != texts[-1]:
            texts.append(text)
    passes.before = None
    texts.append(shown.inner_text())
    assert len(set(texts)) > 2
    assert all(later.startswith(text) for text, later in pairwise(texts))
    assert set(json.loads(texts[-1])) == {"percent", "room"}
    assert page.locator("#corrected").input_value() == texts[-1]
    assert shown.locator("b.chosen").count() > 1
    assert "tokens that the grammar allowed" in shown.locator("b.chosen").first.get_attribute("title")
    engine = served.chat.decoding_setup().engine
    assert isinstance(engine, TransformersEngine)
    wait_until(lambda: engine.running == 0)


def test_a_hostile_name_and_request_stay_text(visit: Visit) -> None:
    page = look(visit.page, f"{REQUEST} {HOSTILE}")
    page.get_by_label("Tool", exact=True).fill(HOSTILE)
    page.get_by_role("button", name="Why not?").click()
    page.locator("#why-answer dl").wait_for()
    button = page.locator("#bars button").filter(has_text="onerror")
    button.click()
    page.locator("#call").wait_for(state="visible")
    assert button.inner_text() == HOSTILE
    assert HOSTILE in page.locator("#confusion-rows").inner_text()
    assert page.locator("img").count() == 0
    assert page.evaluate("window.hit") is None


def test_it_fits_a_narrow_screen(visit: Visit) -> None:
    visit.page.set_viewport_size({"width": 320, "height": 640})
    page = look(visit.page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 320


CONTRAST = """() => {
  const light = (rgb) => {
    const [r, g, b] = rgb.map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const worst = [];
  for (const one of document.querySelectorAll("body *")) {
    const text = [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!text || !one.checkVisibility()) continue;
    const painted = (each) => numbers(getComputedStyle(each).backgroundColor);
    let ground = one;
    while (painted(ground)[3] === 0) ground = ground.parentElement;
    const colour = painted(ground);
    const [a, b] = [light(numbers(getComputedStyle(one).color).slice(0, 3)), light(colour.slice(0, 3))];
    worst.push([(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), one.className || one.tagName]);
  }
  return worst.sort((x, y) => x[0] - y[0]).slice(0, 3);
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out(visit: Visit, scheme: str) -> None:
    visit.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page = look(visit.page)
    page.get_by_role("button", name="Force dim").click()
    page.locator("#call-arguments[aria-busy=false] .chosen").first.wait_for()
    assert page.evaluate(CONTRAST)[0][0] >= 4.5, page.evaluate(CONTRAST)


def test_every_control_has_a_name(visit: Visit) -> None:
    page = look(visit.page)
    unnamed = page.evaluate(
        "[...document.querySelectorAll('button, input, textarea')].filter(one => one.checkVisibility() && "
        "!one.getAttribute('aria-label') && !one.textContent.trim() && !one.labels?.length).map(one => one.outerHTML)"
    )
    assert unnamed == []


def test_with_a_token_the_page_asks_for_it_or_takes_it_from_its_address(browser: Any, served: Served) -> None:
    with running(make_app(served, token="s3cret")) as address:
        page = browser.new_page()
        page.goto(f"{address}/")
        page.get_by_label("This server needs its token").fill("s3cret")
        page.get_by_role("button", name="Use it").click()
        page.get_by_text("5 tools on tiny").wait_for()
        page.close()
        page = browser.new_page()
        page.goto(f"{address}/#token=s3cret")
        page.get_by_text("5 tools on tiny").wait_for()
        assert "s3cret" not in page.url
        look(page)
        page.close()
