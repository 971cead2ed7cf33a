"""One module a command: HELP, arguments(parser) and run(args, shelf)."""
