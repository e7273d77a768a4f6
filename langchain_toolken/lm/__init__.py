"""The frozen LM: loading it, its output head, its hidden states, and the check that toolkens can be put on it."""
