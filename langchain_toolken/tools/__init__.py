"""What a tool is: its name, description and argument schema, the grammar made of them, and the files they come from."""
