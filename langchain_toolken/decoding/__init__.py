"""Decoding: the language model, the toolken head on top of it, and the engines that run both (DESIGN §3)."""
