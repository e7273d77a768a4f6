"""Messages to token ids: prompt styles, chat templates, re-injected results, and what the LM reads of a tool."""
