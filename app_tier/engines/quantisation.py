"""From a converted network to its int8 form, by NNCF's post-training quantisation; imported only to make one."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
import openvino as ov

from app_tier.engines import Pixels, golden
from app_tier.engines.openvino import GOLDEN, Kept, OpenVinoEngine

os.environ.setdefault("NNCF_CI", "1")  # it reports to its makers otherwise, and reads this when it is imported

import nncf


def to_int8(kept: Kept, frames: Pixels, folder: Path, threads: int) -> Kept:
    """Write the int8 form of `kept` into `folder`; (N, height, width, 3) `frames` say how large its values become."""
    logging.getLogger("nncf").setLevel(logging.ERROR)
    model = ov.Core().read_model(kept.model)
    calibration = nncf.Dataset(range(len(frames)), lambda index: frames[index : index + 1])
    quantised = nncf.quantize(model, calibration, subset_size=len(frames), target_device=nncf.TargetDevice.CPU)
    made = Kept(folder, int8=True)
    ov.save_model(quantised, made.model, compress_to_fp16=False)
    picture = golden.pixels(frames.shape[1])
    np.save(folder / GOLDEN, OpenVinoEngine(made, threads, bf16=False).infer(picture)[0])
    return made
