"""Datasets, questions with known answers, and graders."""
