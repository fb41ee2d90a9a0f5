"""`tagfleet sagemaker`: train on SageMaker."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from config.settings import Settings
from core.domain.addresses import split_address
from tagfleet.cli.common import with_settings

if TYPE_CHECKING:
    from training.sagemaker.training_jobs import TrainingJobs

_GIVEN_HERE = {"folder": "--run", "images": "--images", "splits": "--splits", "start_from": "--start-from"}


@click.group("sagemaker", short_help="Train on SageMaker instead of here.")
def command() -> None:
    """Train on a machine that SageMaker provides for as long as the training takes. See docs/training.md."""


@command.command("create", context_settings={"ignore_unknown_options": True})
@click.argument("name")
@click.argument("train_options", nargs=-1, type=click.UNPROCESSED, metavar="[-- OPTIONS OF tagfleet train]")
@click.option("--data", required=True, help="s3://BUCKET/PREFIX of images and labels, and splits.json if there is one")
@click.option("--output", required=True, help="s3://BUCKET/PREFIX for the results")
@click.option("--image", required=True, help="image in ECR that contains Tagfleet")
@click.option("--role", required=True, help="ARN of a role that may read the data and write the output")
@click.option("--weights", default="", help="s3://BUCKET/KEY of the weights to start from")
@click.option("--machine", default="ml.g5.xlarge", show_default=True, help="type of the machine, with one or more GPUs")
@click.option("--spot/--on-demand", default=True, show_default=True, help="spot resumes after each interruption")
@click.option("--checkpoints", default="", help="s3://BUCKET/PREFIX  [default: checkpoints/NAME below --output]")
@click.option(
    "--hours", type=click.IntRange(1, 120), default=24, show_default=True, help="stop the job after this time"
)
@click.option(
    "--disk-gb", type=click.IntRange(1, 16_384), default=100, show_default=True, help="size of the machine's disk"
)
@with_settings("aws.region")
def create(
    settings: Settings, name: str, train_options: tuple[str, ...], output: str, checkpoints: str, **values: object
) -> None:
    """Create the training job NAME. AWS bills it from the moment training starts.

    \b
    tagfleet sagemaker create coco-1 --data s3://b/coco --output s3://b/runs
        --image … --role … -- --epochs 30
    """
    from training.sagemaker.jobs import ENTRYPOINT
    from training.sagemaker.training_jobs import JobRequest

    _check_train_options(train_options)
    for address in filter(None, (values["data"], output, checkpoints, values["weights"])):
        try:
            split_address(str(address))
        except ValueError as error:
            raise click.BadParameter(str(error)) from None
    request = JobRequest(
        name=name,
        entrypoint=ENTRYPOINT,
        arguments=train_options,
        output=output,
        checkpoints=checkpoints or f"{output.rstrip('/')}/checkpoints/{name}",
        **values,  # type: ignore[arg-type]  # click has made them
    )
    click.echo(_jobs(settings).create(request))
    click.echo(f"next: tagfleet sagemaker follow {name}", err=True)


@command.command("follow")
@click.argument("name")
@with_settings("aws.region")
def follow(settings: Settings, name: str) -> None:
    """Show the log of the job NAME until the job ends. Interrupting this command does not affect the job."""
    from training.sagemaker.jobs import follow as lines

    for line in lines(_jobs(settings), name):
        click.echo(line)
    click.echo(f"next: tagfleet sagemaker fetch {name} FOLDER", err=True)


@command.command("fetch")
@click.argument("name")
@click.argument("folder", type=click.Path(path_type=Path))
@with_settings("aws.region")
def fetch(settings: Settings, name: str, folder: Path) -> None:
    """Download the run of the job NAME into FOLDER.

    The job has trained the run and, unless its log says otherwise, evaluated it.
    """
    from training.evaluate import evaluation
    from training.sagemaker.jobs import fetch as fetched

    run = fetched(_jobs(settings), name, folder)
    evaluated = (folder / evaluation.FOLDER / evaluation.FIGURES).is_file()
    step = f"publish {folder} --name NAME" if evaluated else f"evaluate {folder} SOURCE"
    click.echo(f"{folder}: {run.architecture}, {len(run.labels)} labels; next: tagfleet {step}")


def _jobs(settings: Settings) -> TrainingJobs:
    from core.aws.clients import Clients
    from training.sagemaker.training_jobs import TrainingJobs

    return TrainingJobs(Clients(settings.aws.region))


def _check_train_options(arguments: Sequence[str]) -> None:
    """Check options of `tagfleet train` here, so that a mistake shows now and not once the machine has started."""
    from tagfleet.cli.train import command as train

    with train.make_context("tagfleet train", [".", "--run", ".", *arguments]) as context:
        for name, flag in _GIVEN_HERE.items():
            if context.params[name] not in (None, Path()):
                raise click.UsageError(f"{flag} is not for a job, which has its own paths for data, weights and run")
