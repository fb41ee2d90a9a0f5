"""Correct moto's training jobs where they differ from AWS's documentation."""

from __future__ import annotations

from typing import Any

from moto.sagemaker.exceptions import ResourceInUseException
from moto.sagemaker.models import FakeTrainingJob, SageMakerModelBackend

_create = SageMakerModelBackend.create_training_job
_describe = SageMakerModelBackend.describe_training_job
_PHASES = ("Starting", "Downloading", "Training", "Uploading")
FAILING = "fails"
"""A job with this in its name fails."""


def apply() -> None:
    """Replace moto's functions by those of this module."""
    SageMakerModelBackend.create_training_job = _once
    SageMakerModelBackend.describe_training_job = _under_way


def _once(self: SageMakerModelBackend, training_job_name: str, **words: Any) -> FakeTrainingJob:
    """ "The name must be unique within an AWS Region in an AWS account." """
    if training_job_name in self.training_jobs:
        raise ResourceInUseException("Training job names must be unique within an AWS account and region")
    job = _create(self, training_job_name=training_job_name, **words)
    job.looks = 0
    return job


def _under_way(self: SageMakerModelBackend, training_job_name: str) -> dict[str, Any]:
    """ "TrainingJobStatus provides high-level status on the training job, SecondaryStatus details": Advance
    one phase with each call; moto's jobs are complete at once.
    """
    found = _describe(self, training_job_name)
    job = self.training_jobs[training_job_name]
    looks, job.looks = job.looks, job.looks + 1
    found.pop("Looks", None)
    if looks < len(_PHASES):
        phase = _PHASES[looks]
        moves = [{"Status": phase, "StartTime": job.creation_time, "StatusMessage": f"{phase} it"}]
        unfinished = {"TrainingJobStatus": "InProgress", "SecondaryStatus": phase, "SecondaryStatusTransitions": moves}
        return {name: value for name, value in found.items() if name != "ModelArtifacts"} | unfinished
    if FAILING in training_job_name:
        why = {"FailureReason": "AlgorithmError: the loss is no number", "SecondaryStatusTransitions": []}
        return found | {"TrainingJobStatus": "Failed", "SecondaryStatus": "Failed"} | why
    ended = {"SecondaryStatusTransitions": [], "TrainingTimeInSeconds": 7200, "BillableTimeInSeconds": 1800}
    return found | ended
