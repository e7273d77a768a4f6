"""Training toolkens: demonstrations, features in one LM pass, the convex solve, and `fit`, which puts them together."""
