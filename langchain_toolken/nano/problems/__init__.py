"""The text nano is pre-trained on, all of it written by this code: word problems, arithmetic, facts, plans, chat, tool use by reading."""
