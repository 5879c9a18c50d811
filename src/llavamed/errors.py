"""The errors that end a command with one line."""


class InputError(Exception):
    """The call was wrong: the message is one line that names the file or record and the remedy. Exit code 2."""


class Unfinished(Exception):
    """Part of the work could not be done this time, and the same command goes on with it. Exit code 1."""


class Failed(Exception):
    """The work failed, and the message is one line that says why and what helps. Exit code 1."""
