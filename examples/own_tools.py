"""Tools that learn from the examples in their docstrings. Run from the root: `python examples/own_tools.py`."""

from langchain_core.tools import tool

from langchain_toolken import ToolkenChat, create_toolken_agent, fit_toolkens


@tool
def area(length: int, width: int) -> str:
    """Work out the area of a rectangle.

    Examples:
        What is the area of a garden of 12 by 30 feet? -> area(12, 30) = 360
        A field is 45 meters long and 20 meters wide. What is its area? -> area(45, 20) = 900
        How many square feet has a room of 14 feet by 11 feet? -> area(14, 11) = 154
        A wall is 9 meters long and 3 meters high. Find its area. -> area(9, 3) = 27
        Compute the area of a sheet of 21 by 29 inches. -> area(21, 29) = 609
    """
    return str(length * width)


@tool
def speed(distance: int, hours: int) -> str:
    """Work out an average speed from a distance and a time in hours.

    Examples:
        A train travels 300 miles in 4 hours. What is its speed? -> speed(300, 4) = 75
        How fast is a car that drives 150 kilometers in 2 hours? -> speed(150, 2) = 75
        A ship needs 6 hours for 90 miles. At what speed does it sail? -> speed(90, 6) = 15
        Find the average speed of a bus that covers 120 miles in 3 hours. -> speed(120, 3) = 40
        Ada ran 24 miles in 4 hours. What was her speed? -> speed(24, 4) = 6
    """
    return f"{distance / hours:g}"


if __name__ == "__main__":
    llm = ToolkenChat(model="nano", toolkens=fit_toolkens("nano", tools=[area, speed]), reinjection="turn")
    question = "A floor is 52 feet long and 31 feet wide. What is its area?"
    print(create_toolken_agent(llm, [area, speed]).invoke({"messages": [("user", question)]})["messages"][-1].text)
