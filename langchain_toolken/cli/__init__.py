"""The command `toolken`. One file per subcommand; torch is loaded only when a subcommand runs."""
