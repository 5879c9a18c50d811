"""The one error a user causes and can mend."""


class InputError(Exception):
    """The call was wrong: the message is one line that names the file or record and the remedy. Exit code 2."""
