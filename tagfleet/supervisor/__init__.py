"""`tagfleet up`: runs the parts of one deployment on this machine, and ends them all."""

from tagfleet.supervisor.instance_lock import CannotStart, read_address
from tagfleet.supervisor.run import supervise

__all__ = ["CannotStart", "read_address", "supervise"]
