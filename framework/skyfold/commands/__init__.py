"""What each command does; `skyfold.command_line` says what can be asked for."""
