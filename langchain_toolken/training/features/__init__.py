"""Features: what training needs from the frozen LM, computed in one pass over the demonstrations."""
