"""Worlds to act in: what the papers' tools do when they are called. See docs/worlds.md."""
