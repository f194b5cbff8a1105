"""The only place where rooms meet: settings, command line, runners, console."""
