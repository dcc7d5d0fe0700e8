"""`earshot export`: a finished run to a detector folder."""

from pathlib import Path
from typing import Final

import click

from edge.commands import event_config_option, event_settings, false_alarms_per_week_option
from edge.detector import Detector, weekly_text
from export.bundle import export, export_texture

FALSE_ALARM_RATE: Final = 0.01


@click.command("export", short_help="Make a detector of a finished run.")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--output", required=True, type=click.Path(path_type=Path), help="Detector folder to write.")
@click.option("--name", help="What the detector is called; else the name of its folder.")
@click.option(
    "--false-alarm-rate",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    show_default=f"{FALSE_ALARM_RATE:g}",
    help="Probability that a normal window exceeds the threshold.",
)
@false_alarms_per_week_option
@event_config_option
@click.option("--section", "only", multiple=True, help="Fit this machine/NN only; repeat for more. Else all of them.")
@click.option("--texture", is_flag=True, help="The early map alone, without a machine: for `earshot enroll`.")
def command(
    run: Path,
    output: Path,
    name: str | None,
    false_alarm_rate: float | None,
    false_alarms_per_week: float | None,
    config_path: Path | None,
    only: tuple[str, ...],
    texture: bool,
) -> None:
    """Make a detector of RUN: the network as a streaming graph, the statistics of every section, and the proof.

    Nothing is written if torch and onnxruntime, or a stream and whole windows, give different numbers.
    """
    if false_alarm_rate is not None and false_alarms_per_week is not None:
        raise click.UsageError("--false-alarm-rate and --false-alarms-per-week: expected one of them, not both.")
    name = name or output.absolute().name
    rate = FALSE_ALARM_RATE if false_alarm_rate is None else false_alarm_rate
    if texture:
        if only or false_alarms_per_week is not None or config_path is not None:
            raise click.UsageError(
                "--texture: has no machine: expected none of --section, --false-alarms-per-week and --config."
            )
        _say_agreement(export_texture(run, output, name=name, false_alarm_rate=rate), f"{output}: a texture")
        return
    detector = export(
        run,
        output,
        name=name,
        false_alarm_rate=rate,
        only=only or None,
        false_alarms_per_week=false_alarms_per_week,
        event=event_settings(config_path),
    )
    _say_agreement(detector, f"{output}: {', '.join(detector.sections)}")
    said = {
        name: weekly_text(own, detector.card.score, false_alarms_per_week) for name, own in detector.sections.items()
    }
    for text in dict.fromkeys(said.values()):
        click.echo(f"{', '.join(name for name in said if said[name] == text)}: {text}")


def _say_agreement(detector: Detector, what: str) -> None:
    agreement = detector.card.metrics["largest_differences"]
    click.echo(what)
    click.echo("largest relative differences: " + ", ".join(f"{k} {v:.1e}" for k, v in agreement.items()))
