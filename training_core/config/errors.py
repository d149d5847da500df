"""What is wrong with settings or inputs, in one line."""


class ConfigError(ValueError):
    """The configuration is wrong; the message is one line that names the key or the file."""


class InputError(ValueError):
    """The input data is wrong; the message is one line that names the file and the fault."""
