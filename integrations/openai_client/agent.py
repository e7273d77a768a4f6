"""An agent of OpenAI's Python client against `toolken serve`: it asks, runs the tools that are called, and goes on.

    toolken serve --toolkens my-toolkens
    python integrations/openai_client/agent.py --tools examples/mytools.py "How much do 3 pens cost at 7 dollars each?"

Nothing in it is special to toolkens but the address. `my-toolkens` is made by the README's first commands.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from langchain_core.utils.function_calling import convert_to_openai_tool
from openai import LengthFinishReasonError, OpenAI

from langchain_toolken.tools.load import load_tools


def run(api: OpenAI, model: str, tools: dict[str, Any], messages: list[Any], most_calls: int) -> str:
    """Ask, stream the answer, run the calls, and ask again, until an answer has no call."""
    given = [convert_to_openai_tool(tool) for tool in tools.values()]
    text = ""
    for _ in range(most_calls + 1):
        with api.chat.completions.stream(model=model, messages=messages, tools=given) as events:
            for event in events:
                if event.type == "content.delta":
                    print(event.delta, end="", flush=True)
            try:
                message = events.get_final_completion().choices[0].message
            except LengthFinishReasonError as cut_off:  # by max_tokens, or at the end of the LM's context
                print(" …")
                return text + (cut_off.completion.choices[0].message.content or "")
        text += message.content or ""
        if not message.tool_calls:
            print()
            return text
        messages.append(message.model_dump(exclude_none=True))
        for call in message.tool_calls:
            result = str(tools[call.function.name].invoke(json.loads(call.function.arguments)))
            print(f" <{call.function.name} {call.function.arguments} -> {result}> ", end="", flush=True)
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
    return text


def main() -> None:
    """Ask the question of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("question")
    parser.add_argument("--tools", required=True, help="a .py file with @tool functions; its code is run")
    parser.add_argument("--address", default="http://127.0.0.1:8000/v1")
    parser.add_argument("--key", default="none", help="the server's token, if it has one")
    parser.add_argument("--most-calls", type=int, default=4)
    options = parser.parse_args()
    tools = {tool.name: tool for tool in load_tools(options.tools)}
    with OpenAI(base_url=options.address, api_key=options.key) as api:
        model = api.models.list().data[0].id
        run(api, model, tools, [{"role": "user", "content": options.question}], options.most_calls)


if __name__ == "__main__":
    main()
