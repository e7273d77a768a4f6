"""An LM in a GGUF file, run by llama.cpp as it is."""
