"""Synthesis: make demonstrations from tools' names and descriptions."""
