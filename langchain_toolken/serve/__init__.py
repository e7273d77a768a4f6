"""`toolken serve`: an OpenAI-compatible server over one ToolkenChat, and a page that shows what fires."""
