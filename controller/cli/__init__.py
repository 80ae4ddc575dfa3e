"""The command chinampa, one file per subcommand."""
