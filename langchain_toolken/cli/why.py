"""`toolken why`: which tool fires for a request, and why another does not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from langchain_toolken.cli.errors import reported
from langchain_toolken.cli.options import AsJson, Model, ModelArg, parse_model_args
from langchain_toolken.cli.terminal import as_json as written
from langchain_toolken.cli.terminal import facts_table, shown, table, terminal
from langchain_toolken.prompts.format import Style

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from langchain_toolken.chat.explanation import Explanation, WhyNot

_BARS = "▁▂▃▄▅▆▇█"
_HELP = "Demonstrations like this request help"


def why(
    request: Annotated[str, typer.Argument(help="What a user asks.")],
    toolkens: Annotated[Path, typer.Option(help="Folder that `toolken fit` wrote.")],
    tool: Annotated[
        str | None, typer.Option(help="Also say why this tool is not called, and what would make it.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="How many of the likeliest tools to show.")] = 8,
    model: Model = None,
    model_arg: ModelArg = None,
    style: Annotated[
        Style | None, typer.Option(help="Prompt style. Default: the style the toolkens were fitted in.")
    ] = None,
    system: Annotated[str | None, typer.Option(help="System prompt.")] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Most words of the answer to look at.")] = 48,
    as_json: AsJson = False,
) -> None:
    """Show which tool fires for a request and where, the parts of each tool's score, and why another does not fire."""
    if not request.strip():
        raise typer.BadParameter("the request is empty: ask something")
    arguments = parse_model_args(model_arg, taken={"model"})
    console = terminal()
    with reported():
        from langchain_core.messages import HumanMessage, SystemMessage

        from langchain_toolken.chat.loaded_engine import LOADED_BY
        from langchain_toolken.chat.model import ToolkenChat
        from langchain_toolken.chat.why import explain, look, why_not
        from langchain_toolken.toolkens.set import ToolkenSet

        loaded = ToolkenSet.load(toolkens)
        if tool is not None:
            loaded.index(tool)  # before the LM is loaded
        fields = {key: arguments.pop(key) for key in LOADED_BY if key in arguments}
        chat = ToolkenChat(model=model, toolkens=loaded, style=style, model_kwargs=arguments, **fields)
        messages = [*([] if system is None else [SystemMessage(system)]), HumanMessage(request)]
        looked = look(chat.decoding_setup(), messages, max_tokens=max_tokens)
        said = explain(looked, top)
        told = None if tool is None else why_not(looked, tool)
    if as_json:
        content: dict[str, Any] = said.model_dump(mode="json")
        if told is not None:
            content["why_not"] = told.model_dump(mode="json")
        print(written(content, indent=1))
        return
    _show(console, said)
    if told is not None:
        _show_why_not(console, said, told)


def _show(console: Console, said: Explanation) -> None:
    place = said.places[said.looked_at]
    best = place.tools[0]
    if said.fires is None:
        fires = shown(f"nothing; {best.tool} comes nearest, {-place.margin:.2f} nats short", style="bold")
    else:
        where = "at once" if said.fires_at == 0 else f"after {said.fires_at} tokens"
        fires = shown(f"{said.fires}, {where}, {place.margin:.2f} nats above the operating point", style="bold")
    facts: list[tuple[str, str | Text]] = [
        ("fires", fires),
        ("when is decided by", "a gate" if said.decided_by == "gate" else "the best toolken against the best word"),
        ("P(call) there", f"{place.call:.3f}"),
        ("P(call) along the answer", "".join(_bar(one.call) for one in said.places)),
        ("answer without calls", "".join(one.text for one in said.places).replace("\n", " ").strip()),
        ("prompt", f"{said.prompt_tokens} tokens" + _saved(said)),
    ]
    if said.points:
        facts.append(("operating points", _points(said)))
    console.print(facts_table(facts))
    scores = table("tool", "P", "share", "score", "parts", title="likeliest tools, and the parts of their scores")
    for one in place.tools:
        parts = ", ".join(f"{name} {value:+.2f}" for name, value in one.parts.items())
        scores.add_row(shown(one.tool), f"{one.probability:.3f}", f"{one.share:.3f}", f"{one.score:+.2f}", parts)
    scores.add_row("no call", f"{1 - place.call:.3f}", "", "", "")
    console.print(scores)
    console.print("Parts are in nats, each compared with its mean over the tools.", style="dim")


def _show_why_not(console: Console, said: Explanation, told: WhyNot) -> None:
    one, first = told.score, told.first
    if told.bias == 0:
        console.print(shown(f"{told.tool} fires.", style="bold"))
        return
    facts: list[tuple[str, str | Text]] = [
        ("rank", f"{one.rank} of {told.of}; its score is {told.gap:.2f} below that of {first.tool}"),
        ("would fire", _needed(said, told)),
    ]
    if one.rank > 1:
        apart = sorted(one.parts, key=lambda name: one.parts[name] - first.parts[name])
        facts.append(
            (f"less {first.tool}", ", ".join(f"{name} {one.parts[name] - first.parts[name]:+.2f}" for name in apart))
        )
    for name, examples in ((told.tool, told.nearest), (first.tool, told.nearest_of_first)):
        for example in examples:
            facts.append((f"nearest of {name}", f"{example.request} {written(example.arguments)}"))
    if not told.nearest:
        facts.append((f"nearest of {told.tool}", "the set keeps no demonstration of it"))
    console.print(shown(f"why not {told.tool}", style="bold"))
    console.print(facts_table(facts))


def _points(said: Explanation) -> str:
    highest = max(place.margin for place in said.places)
    fires = [point.false_calls for point in said.points if highest > point.margin]
    if not fires:
        return f"nothing fires even at {said.points[-1].false_calls:.0%} false calls (held-out requests without a call)"
    return f"fires where {min(fires):.0%} or more of held-out requests without a call may get one"


def _needed(said: Explanation, told: WhyNot) -> str:
    if told.bias is not None:
        return f"with {told.bias:.2f} more bias"
    if said.decided_by == "gate" and told.margin <= 0:
        return f"with no bias: the gate calls nothing here, by {-told.margin:.2f} nats. {_HELP}"
    return f"with no bias: toolkens have no weight in this set's choice. {_HELP}"


def _bar(share: float) -> str:
    return _BARS[min(int(share * len(_BARS)), len(_BARS) - 1)]


def _saved(said: Explanation) -> str:
    if said.described_tokens is None:
        return ""
    return f"; {said.described_tokens} if it described all tools"
