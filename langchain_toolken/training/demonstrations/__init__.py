"""Demonstrations: examples of tool calls, read from files, chats and docstrings into one typed form."""
