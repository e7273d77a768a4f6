"""Decoding: what an engine has to do, and the engine that runs the LM in this process."""
