"""Makes the int8 form of a converted network, by NNCF's post-training quantisation. Imported only to make one."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
import openvino as ov

from app_tier.engines import Pixels, golden
from app_tier.engines.openvino import GOLDEN, ConvertedNetwork, OpenVinoEngine

os.environ.setdefault("NNCF_CI", "1")  # turns its telemetry off; it reads this when it is imported

import nncf


def to_int8(converted: ConvertedNetwork, frames: Pixels, folder: Path, threads: int) -> ConvertedNetwork:
    """Write the int8 form into `folder`, calibrated by (N, height, width, 3) frames."""
    logging.getLogger("nncf").setLevel(logging.ERROR)
    model = ov.Core().read_model(converted.model)
    calibration = nncf.Dataset(range(len(frames)), lambda index: frames[index : index + 1])
    quantised = nncf.quantize(model, calibration, subset_size=len(frames), target_device=nncf.TargetDevice.CPU)
    int8 = ConvertedNetwork(folder, int8=True)
    ov.save_model(quantised, int8.model, compress_to_fp16=False)
    picture = golden.pixels(frames.shape[1])
    np.save(folder / GOLDEN, OpenVinoEngine(int8, threads, bf16=False).infer(picture)[0])
    return int8
