"""The convex solve: from features and a prior to the toolken matrix."""
