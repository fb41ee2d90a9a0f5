"""`tagfleet up`: run one deployment's processes on this machine, and end them all."""

from tagfleet.supervisor.instance_lock import CannotStart, read_address
from tagfleet.supervisor.run import supervise

__all__ = ["CannotStart", "read_address", "supervise"]
