"""`tagfleet up`: runs the parts of one deployment on this machine, and ends them all."""

from tagfleet.supervisor.claim import CannotStart, address_of
from tagfleet.supervisor.run import supervise

__all__ = ["CannotStart", "address_of", "supervise"]
