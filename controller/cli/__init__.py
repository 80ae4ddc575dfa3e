"""The command chinampa, one file per subcommand."""

from controller.cli.program import main

__all__ = ["main"]
