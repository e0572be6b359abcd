"""`leitstand state`: what the training is doing now."""

from collections.abc import Mapping
from typing import Any

import click

from service.cli.options import as_json_text, json_option, server_options
from service.cli.table import MISSING, duration, number, pairs
from service.client import Client


@click.command
@json_option
@server_options
def state(client: Client, as_json: bool) -> None:
    """Show what the training is doing now."""
    snapshot = client.state()
    click.echo(as_json_text(snapshot) if as_json else summary(snapshot))


def summary(snapshot: Mapping[str, Any]) -> str:
    """The values that people ask for first, a line each; what the server does not send is a dash."""
    value = snapshot.get
    reason = f" ({value('run_reason')})" if value("run_reason") else ""
    step = max((known for known in (value("step_live"), value("step_current")) if known is not None), default=None)
    epoch_step = f"step {_plain(value('epoch_step_current'))} of {_plain(value('epoch_step_total'))}"
    ranks = f"on {_plain(value('world_size'))} ranks"
    quality, best = number(value("quality_ki_value")), number(value("best_quality_ever"))
    return pairs(
        [
            ("run", _plain(value("run_id"))),
            ("state", f"{_plain(value('run_state'))}{reason}"),
            ("heard of", f"{duration(value('age_seconds'))} ago"),
            ("step", f"{_plain(step)} of {_plain(value('step_max'))}"),
            ("epoch", f"{_plain(value('epoch_num'))}, {epoch_step}"),
            ("time left", _plain(value("eta_total_formatted"))),
            ("step time", f"{number(value('iteration_duration'), '.3f')} s"),
            ("samples", f"{number(value('samples_per_second'), '.1f')} per second {ranks}"),
            ("loss", number(value("total_loss_value"), ".5f")),
            ("learning rate", f"{number(value('learning_rate_value'), '.3g')} ({_plain(value('lr_phase_name'))})"),
            ("quality KI", f"{quality} (LR {number(value('quality_lr_value'))}, best {best})"),
            ("PSNR KI", f"{number(value('psnr_ki_db'), '.2f')} dB (LR {number(value('psnr_lr_db'), '.2f')} dB)"),
        ]
    )


def _plain(value: Any) -> str:
    return MISSING if value is None else str(value)
