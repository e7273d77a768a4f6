"""The commands of `toolken`, a module each; torch is loaded only when one runs."""
