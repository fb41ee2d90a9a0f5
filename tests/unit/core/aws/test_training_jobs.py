"""A training on SageMaker, over HTTP against moto's server: asked for, followed, brought home."""

from __future__ import annotations

import io
import tarfile
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from core.errors import Misconfigured, NotFound, RunInvalid, TrainingStopped
from core.storage.models import Input
from tagfleet.cli import cli
from tests.cloud import Cloud
from training.data.splits import SplitFile
from training.fit.options import Options
from training.fit.runs import BEST, LAST, RUN, TrainingRun
from training.sagemaker import container as sagemaker_container
from training.sagemaker import jobs as sagemaker
from training.sagemaker.training_jobs import JobRequest, TrainingJobs

ROLE = "arn:aws:iam::123456789012:role/trainer"
IMAGE = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/tagfleet:1"


@pytest.fixture
def jobs(cloud: Cloud) -> TrainingJobs:
    return TrainingJobs(cloud.clients)


def wanted(name: str, bucket: str = "b", **words: object) -> JobRequest:
    given = {
        "image": IMAGE,
        "entrypoint": sagemaker.ENTRYPOINT,
        "arguments": ("--epochs", "3"),
        "role": ROLE,
        "machine": "ml.g5.xlarge",
        "data": f"s3://{bucket}/data",
        "output": f"s3://{bucket}/runs",
        "checkpoints": f"s3://{bucket}/runs/checkpoints/{name}",
    }
    return JobRequest(name, **(given | words))


def command(cloud: Cloud, *arguments: str | Path) -> Result:
    environment = {**cloud.environ, "TAGFLEET_AWS__REGION": cloud.environ["AWS_DEFAULT_REGION"]}
    return CliRunner(env=environment).invoke(cli, ["sagemaker", *map(str, arguments)])


def say(cloud: Cloud, name: str, *lines: str) -> None:
    """Into the job's log, as its container does."""
    logs = cloud.client("logs")
    group, stream = "/aws/sagemaker/TrainingJobs", f"{name}/algo-1-1"
    if not logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]:
        logs.create_log_group(logGroupName=group)
    if not logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=stream)["logStreams"]:
        logs.create_log_stream(logGroupName=group, logStreamName=stream)
    events = [{"timestamp": int(time.time() * 1000), "message": f"{line}\n"} for line in lines]
    logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events)


def archive(members: dict[str, bytes], *special: tarfile.TarInfo) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        for info in special:
            tar.addfile(info)
    return out.getvalue()


def a_run() -> TrainingRun:
    return TrainingRun(
        options=Options(),
        architecture="torchvision/resnet50",
        input=Input(resize=232, crop=224),
        labels=("cat", "dog"),
        dataset="pets",
        splits_sha256="ab" * 32,
        initial_sha256="",
        processes=1,
    )


class TestCreating:
    def test_what_sagemaker_is_asked_for(self, cloud, jobs):
        name = cloud.name("asked")
        assert name in jobs.create(wanted(name, weights="s3://b/w/resnet50.safetensors"))
        found = cloud.client("sagemaker").describe_training_job(TrainingJobName=name)
        assert found["RoleArn"] == ROLE
        assert found["AlgorithmSpecification"]["TrainingImage"] == IMAGE
        assert found["AlgorithmSpecification"]["ContainerArguments"] == ["--epochs", "3"]
        assert [channel["ChannelName"] for channel in found["InputDataConfig"]] == ["training", "weights"]
        assert found["StoppingCondition"] == {"MaxRuntimeInSeconds": 86_400, "MaxWaitTimeInSeconds": 172_800}
        assert found["EnableManagedSpotTraining"]
        assert found["CheckpointConfig"]["S3Uri"] == f"s3://b/runs/checkpoints/{name}"
        assert found["CheckpointConfig"]["LocalPath"] == "/opt/ml/checkpoints"

    def test_on_demand_and_without_options(self, cloud, jobs):
        name = cloud.name("plain")
        jobs.create(wanted(name, spot=False, hours=2, arguments=()))
        found = cloud.client("sagemaker").describe_training_job(TrainingJobName=name)
        assert found["StoppingCondition"] == {"MaxRuntimeInSeconds": 7200}
        assert "ContainerArguments" not in found["AlgorithmSpecification"]

    def test_a_name_is_used_once(self, cloud, jobs):
        name = cloud.name("twice")
        jobs.create(wanted(name))
        with pytest.raises(Misconfigured, match="names cannot be reused: choose another one"):
            jobs.create(wanted(name))

    @pytest.mark.parametrize(
        ("words", "text"),
        [
            ({"name": "odd-1", "role": "trainer"}, "cannot create the training job odd-1: .*RoleArn, value: 7"),
            ({"name": ""}, "cannot create the training job : .*TrainingJobName, value: 0"),
        ],
    )
    def test_what_no_job_can_have_is_said_in_a_line(self, jobs, words, text):
        with pytest.raises(Misconfigured, match=text) as caught:
            jobs.create(wanted(**words))
        assert "\n" not in str(caught.value)

    def test_no_such_job(self, jobs):
        with pytest.raises(Misconfigured, match="there is no training job 'gone' in eu-central-1"):
            jobs.state("gone")

    @pytest.mark.parametrize(
        ("options", "text"),
        [
            (["--epoch", "3"], "No such option"),
            (["--loss", "mse"], "'mse' is not one of"),
            (["--splits", __file__], "--splits is not for a job"),
            (["--run", "x"], "--run is not for a job"),
        ],
    )
    def test_a_wrong_option_of_the_training_is_told_before_a_machine_is_rented(self, cloud, options, text):
        places = ("--data", "s3://b/d", "--output", "s3://b/o", "--image", IMAGE, "--role", ROLE)
        done = command(cloud, "create", cloud.name("wrong"), *places, "--", *options)
        assert done.exit_code == 2
        assert text in done.stderr

    def test_an_address_that_is_none(self, cloud):
        places = ("--data", "/data", "--output", "s3://b/o", "--image", IMAGE, "--role", ROLE)
        done = command(cloud, "create", cloud.name("wrong"), *places)
        assert "'/data' is not an address of the form s3://BUCKET/KEY" in done.stderr


class TestFollowing:
    def test_phases_and_log_lines_until_it_has_ended(self, cloud, jobs):
        name = cloud.name("followed")
        jobs.create(wanted(name))
        pauses: list[float] = []

        def pause(seconds: float) -> None:
            pauses.append(seconds)
            if len(pauses) == 3:
                say(cloud, name, "epoch 1", "epoch 2")
            if len(pauses) == 4:
                say(cloud, name, "epoch 3")

        assert list(sagemaker.follow(jobs, name, pause)) == [
            "[Starting: Starting it]",
            "[Downloading: Downloading it]",
            "[Training: Training it]",
            "[Uploading: Uploading it]",
            "epoch 1",
            "epoch 2",
            "[Completed]",
            "epoch 3",
            "[trained for 2.0 h, billed 0.5 h, 75 % saved by spot]",
        ]
        assert pauses == [sagemaker.POLL_S] * 4

    def test_a_failure_says_why(self, cloud, jobs):
        name = cloud.name("it-fails")
        jobs.create(wanted(name))
        with pytest.raises(TrainingStopped, match="ended as failed: AlgorithmError: the loss is no number"):
            list(sagemaker.follow(jobs, name, lambda _: None))


class TestFetching:
    def ended(self, cloud: Cloud, data: bytes | None) -> str:
        """A job that has ended well, and what it left."""
        name, bucket = cloud.name("fetched"), cloud.name("bucket")
        cloud.client("s3").create_bucket(
            Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
        )
        jobs = TrainingJobs(cloud.clients)
        jobs.create(wanted(name, bucket))
        list(sagemaker.follow(jobs, name, lambda _: None))
        if data is not None:
            cloud.client("s3").put_object(Bucket=bucket, Key=f"runs/{name}/output/model.tar.gz", Body=data)
        return name

    def test_a_run_comes_home(self, cloud, tmp_path):
        members = {RUN: a_run().model_dump_json().encode(), BEST: b"w" * 100, "evaluation/figures.json": b"{}"}
        name = self.ended(cloud, archive(members))
        done = command(cloud, "fetch", name, tmp_path / "new" / "run")
        assert done.exit_code == 0, done.output
        folder = tmp_path / "new" / "run"
        assert "torchvision/resnet50, 2 labels; next: tagfleet publish" in done.stdout
        assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == set(members)
        assert [path.name for path in folder.parent.iterdir()] == ["run"]

    def test_a_run_that_was_not_evaluated_is_evaluated_next(self, cloud, tmp_path):
        name = self.ended(cloud, archive({RUN: a_run().model_dump_json().encode(), BEST: b"w"}))
        done = command(cloud, "fetch", name, tmp_path / "run")
        assert f"next: tagfleet evaluate {tmp_path / 'run'} SOURCE" in done.stdout

    def test_nothing_is_left_of_an_archive_that_is_no_run(self, cloud, jobs, tmp_path):
        name = self.ended(cloud, archive({"model.bin": b"x"}))
        with pytest.raises(RunInvalid, match="is not the folder of a training"):
            sagemaker.fetch(jobs, name, tmp_path / "run")
        assert not list(tmp_path.iterdir())

    def test_an_archive_that_is_gone(self, cloud, jobs, tmp_path):
        name = self.ended(cloud, None)
        with pytest.raises(NotFound):
            sagemaker.fetch(jobs, name, tmp_path / "run")

    def test_a_job_that_has_not_ended(self, cloud, jobs, tmp_path):
        name = cloud.name("early")
        jobs.create(wanted(name))
        with pytest.raises(TrainingStopped, match="is InProgress: there is no run to fetch"):
            sagemaker.fetch(jobs, name, tmp_path / "run")

    def test_what_is_there_stays(self, cloud, jobs, tmp_path):
        name = self.ended(cloud, archive({RUN: a_run().model_dump_json().encode()}))
        with pytest.raises(RunInvalid, match="exists already"):
            sagemaker.fetch(jobs, name, tmp_path)


def special(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


@pytest.mark.parametrize(
    "data",
    [
        archive({"../outside": b"x"}),
        archive({"/outside": b"x"}),
        archive({"a/../../outside": b"x"}),
        archive({}, special("link", tarfile.SYMTYPE, "/etc/passwd")),
        archive({"a": b"x"}, special("link", tarfile.LNKTYPE, "a")),
        archive({}, special("device", tarfile.CHRTYPE)),
        archive({"a": b"x"}),
        archive({"a": b"x" * 100_000})[:80],
        b"no archive",
    ],
    ids=["up", "root", "through", "symbolic link", "hard link", "device", "sound", "cut off", "none"],
)
def test_an_archive_is_unpacked_only_where_it_may(tmp_path, data, request):
    (tmp_path / "model.tar.gz").write_bytes(data)
    folder = tmp_path / "in" / "run"
    if request.node.callspec.id == "sound":
        sagemaker.unpack(tmp_path / "model.tar.gz", folder)
        assert (folder / "a").read_bytes() == b"x"
    else:
        with pytest.raises(RunInvalid, match="archive"):
            sagemaker.unpack(tmp_path / "model.tar.gz", folder)
    assert not list(tmp_path.rglob("outside"))
    assert not any(path.is_symlink() for path in tmp_path.rglob("*"))


@pytest.mark.parametrize("place", ["in the bytes", "at their end", "in their sum"])
def test_an_archive_that_was_damaged_on_its_way_is_told(tmp_path, place):
    data = bytearray(archive({"a": b"".join(b"%d," % number for number in range(20_000)), "b": b"abcd" * 20_000}))
    where = {"in the bytes": len(data) // 2, "at their end": len(data) - 12, "in their sum": len(data) - 8}[place]
    for bit in range(8):
        damaged = bytearray(data)
        damaged[where] ^= 1 << bit
        (tmp_path / "model.tar.gz").write_bytes(damaged)
        with pytest.raises(RunInvalid, match="the archive of the run cannot be unpacked"):
            sagemaker.unpack(tmp_path / "model.tar.gz", tmp_path / f"run-{bit}")


class TestContainer:
    def root(self, folder: Path, *files: str) -> Path:
        for name in ("input/data/training/instances.json", *files):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("{}")
        return folder

    def test_it_trains_evaluates_and_leaves_the_run_as_the_model(self, tmp_path):
        root = self.root(tmp_path)
        run = root / "checkpoints" / "run"
        asked: list[Sequence[str]] = []

        def execute(words: Sequence[str]) -> tuple[int, str]:
            asked.append(words)
            run.mkdir(parents=True, exist_ok=True)
            for name in (RUN, BEST, LAST, ".best.safetensors-x"):
                (run / name).write_text(name)
            if "evaluate" in words:
                (run / "evaluation").mkdir()
                (run / "evaluation" / "figures.json").write_text("{}")
            return 0, ""

        assert sagemaker_container.main(["--epochs", "3"], root, 0, execute) == 0
        source = str(root / "input" / "data" / "training")
        assert [words[1:] for words in asked] == [
            ["-P", "-m", "tagfleet", "train", source, "--run", str(run), "--epochs", "3"],
            ["-P", "-m", "tagfleet", "evaluate", str(run), source],
        ]
        assert {path.name for path in (root / "model").iterdir()} == {RUN, BEST, "evaluation"}
        assert (root / "model" / "evaluation" / "figures.json").is_file()

    def test_a_failed_evaluation_costs_no_training(self, tmp_path, capsys):
        root = self.root(tmp_path)

        def execute(words: Sequence[str]) -> tuple[int, str]:
            if "evaluate" in words:
                return 1, "no test image"
            (root / "checkpoints" / "run").mkdir(parents=True)
            (root / "checkpoints" / "run" / BEST).write_text("weights")
            return 0, ""

        assert sagemaker_container.main([], root, 0, execute) == 0
        assert [path.name for path in (root / "model").iterdir()] == [BEST]
        assert "the trained run is kept; once fetched: `tagfleet evaluate RUN SOURCE`" in capsys.readouterr().err

    def test_a_split_without_a_test_part_is_told_before_the_training(self, tmp_path, capsys):
        root = self.root(tmp_path)
        kept = SplitFile(dataset="d", fingerprint="ab" * 32, train=("a.png",), validation=("b.png",), test=())
        (root / "input/data/training/splits.json").write_text(kept.model_dump_json())
        told: list[tuple[str, str]] = []

        def execute(words: Sequence[str]) -> tuple[int, str]:
            told.append((words[4], capsys.readouterr().err))
            (root / "checkpoints" / "run").mkdir(parents=True)
            return 0, ""

        assert sagemaker_container.main([], root, 0, execute) == 0
        ((command, before),) = told
        assert command == "train"
        assert "splits.json has no test part, so the run will not be evaluated here" in before

    def test_every_gpu_and_the_other_places(self, tmp_path):
        root = self.root(tmp_path, "input/data/training/splits.json", "input/data/weights/resnet50.safetensors")
        words = sagemaker_container.train_command([], root, root / "run", gpus=4)
        assert words[1:7] == ["-P", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "4"]
        assert words[7:11] == ["-m", "--", "tagfleet", "train"]
        assert words[-4:] == [
            "--splits",
            str(root / "input/data/training/splits.json"),
            "--start-from",
            str(root / "input/data/weights/resnet50.safetensors"),
        ]

    def test_a_failure_is_left_where_sagemaker_looks_for_it(self, tmp_path):
        root = self.root(tmp_path)
        why = "tagfleet: " + "x" * 2000
        assert sagemaker_container.main([], root, 1, lambda _: (3, why)) == 3
        assert (root / "output" / "failure").read_text() == why[-1024:]
        assert not (root / "model").exists()
