"""The code that makes nano: its pre-training text, its tokenizer and its training."""
