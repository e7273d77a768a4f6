"""The command `toolken`, a file for each of its commands; torch is loaded only when one runs."""
