"""The one root of every error that this project raises on purpose."""


class AgpsError(Exception):
    """An error with one clear sentence: the value, the limit, what to do."""


class HardwareFault(AgpsError):
    """The arm or a camera failed: it has been stopped before this was raised."""


class ConfigError(AgpsError):
    """A request that cannot be carried out as it was asked for."""


class NotFinite(AgpsError):
    """An observation, a reward, an action, a loss or a weight is no finite number: going on would poison the rest."""


class EnvironmentFailed(AgpsError):
    """Somebody else's environment raised an error of its own."""
