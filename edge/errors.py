"""What can go wrong, said once.

Every message names the file, key or device, what came and what was expected. `earshot` prints the message alone;
a traceback means a defect of ours.
"""


class EarshotError(Exception):
    """Anything a person can mend: its text is for them. Exit code 1."""

    exit_code = 1


class ConfigError(EarshotError):
    """A configuration that is wrong, with every mistake in it. Exit code 78 (EX_CONFIG of sysexits.h)."""

    exit_code = 78


class SourceError(EarshotError):
    """Sound that cannot be had: a file, a stream or a device, named."""


class DetectorError(EarshotError):
    """A detector folder that is missing, damaged, or does not fit this program."""
