"""Calls to SageMaker's training jobs and to their CloudWatch logs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import BinaryIO

from botocore.exceptions import ClientError, ParamValidationError

from core.aws.clients import Clients
from core.aws.errors import code_of, translate_errors
from core.domain.addresses import split_address
from core.errors import Misconfigured, NotFound

DATA = "training"
WEIGHTS = "weights"
"""Names of channels. The container finds the objects of a channel below `/opt/ml/input/data/NAME`."""
CHECKPOINTS = "/opt/ml/checkpoints"
_LOG_GROUP = "/aws/sagemaker/TrainingJobs"
_CHUNK = 1 << 20
_HOUR_S = 3600


@dataclass(frozen=True, slots=True)
class JobRequest:
    """A training job to create. Addresses are `s3://BUCKET/PREFIX`; `role` is an ARN; `image` is in ECR."""

    name: str
    image: str
    entrypoint: Sequence[str]
    arguments: Sequence[str]
    role: str
    machine: str
    data: str
    output: str
    checkpoints: str
    """Address where checkpoints are kept while the job runs, and from which it resumes after a spot interruption."""
    weights: str = ""
    spot: bool = True
    hours: int = 24
    """SageMaker stops the job after this time. Waiting for spot capacity may take as long again."""
    disk_gb: int = 100


@dataclass(frozen=True, slots=True)
class JobState:
    """The state of a training job, as SageMaker describes it."""

    status: str
    """InProgress, Completed, Failed, Stopping or Stopped."""
    phase: str = ""
    """SageMaker's secondary status: Starting, Downloading, Training, Interrupted, …"""
    message: str = ""
    why: str = ""
    """The reason of a failure."""
    artefact: str = ""
    """`s3://` address of the model's archive."""
    trained_s: int = 0
    billed_s: int = 0

    @property
    def ended(self) -> bool:
        """Whether the job has completed, failed or been stopped."""
        return self.status in ("Completed", "Failed", "Stopped")


@dataclass(frozen=True, slots=True)
class LogPosition:
    """How far each of a job's log streams is read: a token per stream."""

    tokens: Mapping[str, str]


class TrainingJobs:
    """A client for training jobs. Every method raises Unavailable, or its subclass Misconfigured."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def create(self, request: JobRequest) -> str:
        """Create the job and return its ARN. Raises Misconfigured for a used name, a quota too small or a bad role."""
        doing = f"create the training job {request.name}"
        with translate_errors(doing, "sagemaker"):
            try:
                answer = self._clients.of("sagemaker").create_training_job(**_build_request(request))
            except ParamValidationError as error:
                report = "; ".join(error.kwargs["report"].splitlines())
                raise Misconfigured(f"cannot {doing}: invalid request: {report}") from None
            except ClientError as error:
                if code_of(error) == "ResourceInUse":
                    raise Misconfigured(
                        f"the name {request.name!r} belongs to an earlier training job, and names cannot be reused: "
                        "choose another one"
                    ) from None
                if code_of(error) == "ResourceLimitExceeded":
                    market = "spot training job" if request.spot else "training job"
                    raise Misconfigured(
                        f"the account's quota of {request.machine} for {market} usage is used up; ask for more in "
                        "AWS's Service Quotas, SageMaker"
                    ) from None
                raise
        return str(answer["TrainingJobArn"])

    def state(self, name: str) -> JobState:
        """Return the job's state. Raises Misconfigured if there is no such job."""
        with translate_errors(f"look at the training job {name}", "sagemaker"):
            try:
                found = self._clients.of("sagemaker").describe_training_job(TrainingJobName=name)
            except ClientError as error:
                if "not find" in str(error):
                    raise Misconfigured(f"there is no training job {name!r} in {self._clients.region}") from None
                raise
        moves = found.get("SecondaryStatusTransitions") or [{}]
        return JobState(
            found["TrainingJobStatus"],
            found.get("SecondaryStatus", ""),
            moves[-1].get("StatusMessage", ""),
            found.get("FailureReason", ""),
            found.get("ModelArtifacts", {}).get("S3ModelArtifacts", ""),
            found.get("TrainingTimeInSeconds", 0),
            found.get("BillableTimeInSeconds", 0),
        )

    def log(self, name: str, position: LogPosition | None = None) -> tuple[list[str], LogPosition]:
        """Return the log lines after `position`, and the new position. There are none before the job's first line."""
        tokens = dict(position.tokens) if position else {}
        with translate_errors(f"read the log of the training job {name}", "logs"):
            lines = [line for stream in self._list_streams(name) for line in self._read_lines(stream, tokens)]
        return lines, LogPosition(tokens)

    def download(self, address: str, file: BinaryIO) -> None:
        """Write the object of an `s3://` address into the file. Raises NotFound, Unavailable."""
        bucket, key = split_address(address)
        with translate_errors(f"read {address}", "s3"):
            try:
                answer = self._clients.s3.get_object(Bucket=bucket, Key=key)
            except ClientError as error:
                if code_of(error) in ("NoSuchKey", "NoSuchBucket"):
                    raise NotFound(address) from None
                raise
            with closing(answer["Body"]) as body:
                for chunk in body.iter_chunks(_CHUNK):
                    file.write(chunk)

    def _list_streams(self, name: str) -> list[str]:
        """Return the names of the job's log streams: one per machine and spot interruption."""
        try:
            pages = self._clients.of("logs").get_paginator("describe_log_streams")
            found = pages.paginate(logGroupName=_LOG_GROUP, logStreamNamePrefix=f"{name}/")
            return sorted(stream["logStreamName"] for page in found for stream in page["logStreams"])
        except ClientError as error:
            if code_of(error) == "ResourceNotFoundException":
                return []
            raise

    def _read_lines(self, stream: str, tokens: dict[str, str]) -> Iterator[str]:
        while True:
            more = {"nextToken": tokens[stream]} if stream in tokens else {}
            page = self._clients.of("logs").get_log_events(
                logGroupName=_LOG_GROUP, logStreamName=stream, startFromHead=True, **more
            )
            yield from (event["message"].rstrip("\n") for event in page["events"])
            before, tokens[stream] = tokens.get(stream), page["nextForwardToken"]
            if before == tokens[stream]:  # "If you have reached the end of the stream, it returns the same token"
                return


def _build_request(request: JobRequest) -> dict[str, object]:
    channels = [_build_channel(DATA, request.data)]
    if request.weights:
        channels.append(_build_channel(WEIGHTS, request.weights))
    limits = {"MaxRuntimeInSeconds": request.hours * _HOUR_S}
    if request.spot:
        limits["MaxWaitTimeInSeconds"] = 2 * limits["MaxRuntimeInSeconds"]
    arguments = (
        {"ContainerArguments": list(request.arguments)} if request.arguments else {}
    )  # SageMaker rejects an empty list
    return {
        "TrainingJobName": request.name,
        "AlgorithmSpecification": {
            "TrainingImage": request.image,
            "TrainingInputMode": "File",
            "ContainerEntrypoint": list(request.entrypoint),
            **arguments,
        },
        "RoleArn": request.role,
        "InputDataConfig": channels,
        "OutputDataConfig": {"S3OutputPath": request.output},
        "ResourceConfig": {
            "InstanceType": request.machine,
            "InstanceCount": 1,
            "VolumeSizeInGB": request.disk_gb,
        },
        "StoppingCondition": limits,
        "EnableManagedSpotTraining": request.spot,
        "CheckpointConfig": {"S3Uri": request.checkpoints, "LocalPath": CHECKPOINTS},
    }


def _build_channel(name: str, address: str) -> dict[str, object]:
    source = {"S3DataType": "S3Prefix", "S3Uri": address, "S3DataDistributionType": "FullyReplicated"}
    return {"ChannelName": name, "DataSource": {"S3DataSource": source}}
