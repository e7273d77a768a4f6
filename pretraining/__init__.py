"""How nano is made: its pre-training text, tokenizer and training."""
