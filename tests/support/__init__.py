"""What tests share: tiny LMs, tools, toolkens that fire where a test wants them, counters of forward passes."""
