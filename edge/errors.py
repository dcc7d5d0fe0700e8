"""What can go wrong, said once.

Every message names the file, key or device, what came and what was expected. `earshot` prints the message alone;
a traceback means a defect of ours.
"""

import unicodedata


def shown(value: object) -> str:
    r"""Return text from outside, such as the name of a file, for people: what would steer a terminal is spelled, \x1b.

    Letters of all languages stay. A byte that is no UTF-8 stays too: whoever prints it knows how.
    """
    return "".join(
        letter.encode("unicode_escape").decode() if unicodedata.category(letter) in _STEERS else letter
        for letter in str(value)
    )


_STEERS = {"Cc", "Cf", "Zl", "Zp"}
"""Control characters, those that turn the direction of writing, and line breaks."""


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
