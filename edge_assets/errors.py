"""The exceptions that this package raises, as a tree:

    EdgeError                 one line: what was tried, on what, what was expected, what to do next
    ├── SettingsError         a setting is unknown, missing or not of its type
    ├── PlatformError         a part (Java, broker, log, Dagster) cannot be had or does not start
    │   ├── AlreadyRunning    another process holds the lock of this home or service
    │   ├── NotRunning        the command needs the platform up
    │   └── DiskFull          there is too little space to go on writing
    ├── DownloadError         a file cannot be fetched, or is not what its checksum says
    ├── LogError              Kafka refuses or is away
    ├── LakeError             a table cannot be read or is not what the contract says
    │   └── LakeTaken         another platform writes there
    ├── HistoryError          a file of history cannot be understood; nothing of it was imported
    ├── AlertError            rules are not valid, or there is no such alert, rule or channel
    └── BackupError           a backup cannot be made, found or read, or is not what its manifest says

A command prints the message of an `EdgeError` on one line and exits with its `exit_code`; any other exception
is a defect and shows its trace. Bad data raises nothing: it becomes a dead letter.
"""


class EdgeError(Exception):
    exit_code = 1


class SettingsError(EdgeError):
    exit_code = 2


class PlatformError(EdgeError):
    exit_code = 3


class AlreadyRunning(PlatformError):
    exit_code = 4


class NotRunning(PlatformError):
    exit_code = 5


class DiskFull(PlatformError):
    exit_code = 10


class DownloadError(EdgeError):
    exit_code = 6


class LogError(EdgeError):
    exit_code = 7


class LakeError(EdgeError):
    exit_code = 8


class LakeTaken(LakeError):
    """Exits as its parent does."""


class HistoryError(EdgeError):
    exit_code = 9


class AlertError(EdgeError):
    exit_code = 11


class BackupError(EdgeError):
    exit_code = 12
