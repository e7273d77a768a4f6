"""The engine that runs the LM in this process, with everything that it is made of."""
