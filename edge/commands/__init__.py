"""One command a file, thin: options in, a wing called; data on stdout, talk on stderr."""

from edge.commands.options import event_config_option, event_settings, false_alarms_per_week_option

__all__ = [
    "event_config_option",
    "event_settings",
    "false_alarms_per_week_option",
]
