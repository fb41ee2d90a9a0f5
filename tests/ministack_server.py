"""Run ministack, corrected where it differs from AWS's documentation.

It is started with the Python of its own environment, prints nothing, and ends when standard input closes.
"""

from __future__ import annotations

import os
import sys
import threading

from ministack import app
from ministack.services.cloudformation import provisioners

_record = provisioners._cw_metric_alarm_record


def _with_metric_math(name, props):
    """Keep an alarm on a metric math expression, which ministack refuses.

    "Metrics: An array that enables you to create an alarm based on the result of a metric math expression."
    AWS::CloudWatch::Alarm in the CloudFormation template reference.
    """
    if not props.get("Metrics"):
        return _record(name, props)
    stand_in = {"MetricName": "expression", "Namespace": "expression"}
    alarm = _record(name, {**{key: value for key, value in props.items() if key != "Metrics"}, **stand_in})
    return {**alarm, "Metrics": props["Metrics"]}


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    provisioners._cw_metric_alarm_record = _with_metric_math
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.argv = ["ministack"]
    app.main()
