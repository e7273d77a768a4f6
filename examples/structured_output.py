"""Get answers as pydantic models: decoding follows the model's schema, so every answer validates.

Run from the repository root: python examples/structured_output.py
"""

from __future__ import annotations

from pydantic import BaseModel, Field

from langchain_toolken import ToolkenChat


class Person(BaseModel):
    """A person."""

    name: str
    age: int = Field(description="in years")
    job: str


llm = ToolkenChat(model="nano")
reader = llm.with_structured_output(Person)

for text in ("Ada is 36 years old. Ada is a nurse.", "Omar is a baker. The age is 58."):
    person = reader.invoke(text)
    print(repr(person))
