"""One command a file, thin: options in, a wing called; data on stdout, talk on stderr."""

from edge.commands.options import (
    cell,
    event_config_option,
    event_settings,
    false_alarms_per_week_option,
    open_output,
    pickup_options,
)

__all__ = [
    "cell",
    "event_config_option",
    "event_settings",
    "false_alarms_per_week_option",
    "open_output",
    "pickup_options",
]
