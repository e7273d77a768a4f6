"""A vLLM server as the engine: the client's side, and what the server's plugin does for a row."""
