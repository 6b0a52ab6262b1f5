"""Floor 6: what a person runs. Each file parses one subcommand and calls the library; no logic."""
