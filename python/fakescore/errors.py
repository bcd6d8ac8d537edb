"""What the calls of this package raise: one class for each kind of failure."""

from __future__ import annotations

from typing import Any


class FakescoreError(RuntimeError):
    """Base of all of them; every rank of a collective call raises the same.

    The text is one line that names the phase, the rank, what failed, what happened and what to do.
    """

    #: The word of this kind of failure in the C++ library.
    code = "internal"

    def __init__(
        self,
        text: str,
        *,
        rank: int = -1,
        phase: str = "",
        subject: str = "",
        message: str = "",
        remedy: str = "",
    ) -> None:
        super().__init__(text)
        #: The rank where it happened; -1 if it concerns no single rank.
        self.rank = rank
        #: "build", "agree", "plan", "place", "move", "replay", "verify" or "finish".
        self.phase = phase
        #: The tensor, file, operation or option that failed; may be empty.
        self.subject = subject
        #: What happened.
        self.message = message or text
        #: What to do; may be empty.
        self.remedy = remedy

    @classmethod
    def of(cls, subject: str, message: str, remedy: str = "") -> FakescoreError:
        """An error as the C++ library words it: "subject: message (remedy)"."""
        text = f"{subject}: {message}" if subject else message
        return cls(
            f"{text} ({remedy})" if remedy else text,
            subject=subject,
            message=message,
            remedy=remedy,
        )


class InternalError(FakescoreError):
    """An exception that nobody foresaw."""


class ConfigError(FakescoreError):
    """Arguments, options or a launch environment that cannot work."""

    code = "configuration"


class TeacherError(FakescoreError):
    """The teacher is missing, truncated, hostile, or does not fit the module."""

    code = "teacher"


class BuildError(FakescoreError):
    """The builder raised, or did what construction on the meta device cannot do."""

    code = "build"


class MismatchError(FakescoreError):
    """Ranks differ from each other."""

    code = "mismatch"


class HostMemoryError(FakescoreError):
    """Out of memory, of a host or of a GPU."""

    code = "memory"


class CommError(FakescoreError):
    """A rank died, stalled or left. The process group cannot be used any more."""

    code = "lost peer"


_BY_CODE: dict[str, type[FakescoreError]] = {
    kind.code: kind
    for kind in (
        InternalError,
        ConfigError,
        TeacherError,
        BuildError,
        MismatchError,
        HostMemoryError,
        CommError,
    )
}


def from_reply(info: dict[str, Any]) -> FakescoreError:
    """The exception for an error of the C++ library."""
    kind = _BY_CODE.get(info["code"], InternalError)
    return kind(
        info["text"],
        rank=info["rank"],
        phase=info["phase"],
        subject=info["subject"],
        message=info["message"],
        remedy=info["remedy"],
    )
