"""What can go wrong, and what it means for the pass in which it does.

    OperatorError
    ├── ApiError               the API server's answer, or the lack of one
    │   ├── NotFoundError      404
    │   ├── ConflictError      409 because somebody else wrote in between: look again
    │   ├── AlreadyExistsError 409 because an object of that name is there
    │   ├── ExpiredError       410: the versions after which a watch or listing was to go on are forgotten
    │   ├── RefusedError       400, 403, 422: the same request will be refused again
    │   └── UnavailableError   429, 5xx, timeouts, connection errors: try again later
    ├── LeaseLostError         another operator may act: end the process at once
    ├── WatchLostError         events do not arrive any more: end the process, a new one watches again
    └── UserInputError         `kubectl neuron` cannot do what it was asked to: one sentence, no traceback; status 2
        └── ClusterError       by no fault of the command line; status 1
            ├── MayNotError        the API server does not let this user do it
            ├── JobMissingError    there is no job of that name
            └── UnreachableError   the API server gives no answer

Anything else that is raised is a bug of ours: logged with its traceback, counted, tried again with back-off.
"""


class OperatorError(Exception):
    """Base of everything this package raises on purpose."""


class ApiError(OperatorError):
    """An answer of the API server that is no success."""

    def __init__(
        self, status: int, reason: str, message: str, retry_after: float | None = None, fields: tuple[str, ...] = ()
    ) -> None:
        self.status, self.reason, self.message, self.retry_after = status, reason, message, retry_after
        self.fields = fields
        """Those that the server names, such as `status.restarts[2].cause`."""
        super().__init__(f"{status} {reason}: {message}")


class NotFoundError(ApiError):
    """There is no such object."""


class ConflictError(ApiError):
    """The object has changed since it was read, or is not the one that was meant."""


class AlreadyExistsError(ApiError):
    """An object of that name is there."""


class ExpiredError(ApiError):
    """Too far behind: begin with a listing."""


class RefusedError(ApiError):
    """Invalid, forbidden or over quota."""


class UnavailableError(ApiError):
    """Nothing is known about whether the request was carried out."""


class LeaseLostError(OperatorError):
    """The Lease could not be renewed in time, or somebody else has it."""


class WatchLostError(OperatorError):
    """Something happened that no event told of."""


class UserInputError(OperatorError):
    """A command line that cannot be carried out: a file that cannot be read or holds no job, a key that does not
    exist."""


class ClusterError(UserInputError):
    """A cluster that cannot be reached, or a job that it does not have or does not change."""


class MayNotError(ClusterError):
    """403: the sentence names the verb and the resource that are needed."""


class JobMissingError(ClusterError):
    """No job of that name; the sentence names those that might be meant."""


class UnreachableError(ClusterError):
    """Nothing answers at the API server's address, or nothing that is of use; it may be back in a moment."""
