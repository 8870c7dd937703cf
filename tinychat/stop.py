"""Stop strings in streamed text: found across token borders, cut exactly, never shown in part.

The stop that is complete first ends the text, so the result does not depend on how the text was cut
into pieces.
"""

from __future__ import annotations

from collections.abc import Sequence

from tinychat import limits
from tinychat.errors import ArgumentError


class StopMatcher:
    """Watches a stream of text for stop strings, and holds back what may still become one.

    Args:
        stops: at most 16 strings of 1 to 256 bytes; none at all is fine.
    Attributes:
        matched: whether a stop string was seen. The text is over then; later pieces are dropped.
    Raises: ArgumentError for a stop string that is empty, too long, not text, or one too many.
    """

    def __init__(self, stops: Sequence[str] = ()) -> None:
        self._stops = check_stops(stops)
        self._reach = max(map(len, self._stops), default=1) - 1
        self._held = ""
        self.matched = False

    def push(self, text: str) -> str:
        """Take the next piece of text; return what is now sure to be shown, possibly nothing."""
        if self.matched:
            return ""
        text = self._held + text
        ends = [
            (begin + len(stop), begin) for stop in self._stops if (begin := text.find(stop)) >= 0
        ]
        if ends:
            self.matched, self._held = True, ""
            return text[: min(ends)[1]]
        shown = len(text) - self._open(text)
        self._held = text[shown:]
        return text[:shown]

    def finish(self) -> str:
        """The text that was held back; call it when the stream ends without a stop string."""
        held, self._held = self._held, ""
        return held

    def _open(self, text: str) -> int:
        """The length of the longest end of `text` that begins a stop string."""
        for length in range(min(self._reach, len(text)), 0, -1):
            tail = text[-length:]
            if any(stop.startswith(tail) for stop in self._stops):
                return length
        return 0


def check_stops(stops: Sequence[str]) -> tuple[str, ...]:
    """The stop strings as a tuple, after the checks that `StopMatcher` documents."""
    if isinstance(stops, str) or not isinstance(stops, Sequence):
        raise ArgumentError(f"stop={stops!r:.60} is no list; expected a list of strings")
    if len(stops) > limits.STOPS:
        raise ArgumentError(f"stop has {len(stops)} strings; at most {limits.STOPS} are expected")
    for index, stop in enumerate(stops):
        if not isinstance(stop, str):
            raise ArgumentError(f"stop[{index}]={stop!r:.60} is no string")
        if not stop:
            raise ArgumentError(f"stop[{index}] is empty; expected at least one character")
        try:
            size = len(stop.encode())
        except UnicodeEncodeError:
            raise ArgumentError(f"stop[{index}] holds a lone surrogate, which is no text") from None
        if size > limits.STOP_BYTES:
            raise ArgumentError(
                f"stop[{index}] has {size} bytes; at most {limits.STOP_BYTES} are expected"
            )
    return tuple(stops)
