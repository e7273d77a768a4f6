"""Messages to token ids: prompt styles, chat templates, re-injection of results, the tool card (DESIGN §3)."""
